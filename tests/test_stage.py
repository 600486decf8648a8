"""How a stage runs and how it fails; the files between stages."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from k49 import progress, stage
from k49.data import Subset
from k49.errors import K49Error
from k49.io import read_yaml, write_yaml
from k49.process import start_server
from k49.progress import timed
from tests.helpers import PARAMS, ROOT, bars, start_stage


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the committed params.yaml, entered; the stage is called `train`."""
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stages/train.py"])
    monkeypatch.setattr(stage, "leave", sys.exit)
    return tmp_path


def ending(main):
    """The exit status that a stage ends with."""
    with pytest.raises(SystemExit) as ended:
        stage.run_stage(main)
    return ended.value.code


def raising(error):
    def main(settings):
        raise error

    return main


def test_stage_gets_its_settings_and_ends_with_where_time_and_memory_went(
    folder, capsys, monkeypatch
):
    got = []
    monkeypatch.setattr(progress, "seconds", defaultdict(float))

    def main(settings):
        got.append(settings)
        for _ in range(2):
            with timed("waiting"):
                time.sleep(0.1)
        time.sleep(0.1)

    assert ending(main) == 0
    assert got == [stage.load_settings(PARAMS)]
    said = capsys.readouterr().out
    pattern = r"train: (\d\.\d) s \((\d\.\d) waiting, (\d\.\d) the rest\), peak memory \d+ MiB\n"
    seconds, waiting, rest = map(float, re.fullmatch(pattern, said).groups())
    assert waiting >= 0.2
    assert rest >= 0.1
    assert seconds == pytest.approx(waiting + rest, abs=0.11)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": 0}, r"train\.epochs: .*1.*is 0"),
        ({"epoch": 3}, r"train\.epoch: unknown key, known here: seed, epochs, .*"),
    ],
)
def test_bad_setting_is_refused_before_anything_runs(folder, capsys, change, says):
    params = read_yaml(folder / "params.yaml")
    params["train"].update(change)
    write_yaml(folder / "params.yaml", params)
    got = []
    assert ending(got.append) == 1
    assert re.fullmatch(rf"error in train: params\.yaml: {says}\n", capsys.readouterr().err)
    assert not got


def test_no_params(folder, capsys):
    (folder / "params.yaml").unlink()
    says = "error in train: params.yaml: cannot be read: No such file or directory\n"
    assert ending(print) == 1
    assert capsys.readouterr().err == says


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (K49Error("no such thing"), "no such thing"),
        (K49Error("a\x1b[31m\nb\u202e"), r"a\x1b[31m\nb\u202e"),
        (FileNotFoundError(2, "No such file", "data/x.npy"), "data/x.npy: No such file"),
        (MemoryError(), f"out of memory; {stage.TO_LOWER}"),
        (RuntimeError("ResourceExhaustedError: OOM"), f"out of memory; {stage.TO_LOWER}"),
    ],
)
def test_whatever_the_user_can_mend_is_one_line(folder, capsys, error, says):
    assert ending(raising(error)) == 1
    assert capsys.readouterr().err == f"error in train: {says}\n"


def test_rows_of_plots_end_no_script(folder, monkeypatch):
    """Was: a class called so ran in the page of `dvc plots show`."""
    monkeypatch.chdir(folder)
    (folder / "metrics").mkdir(exist_ok=True)
    (folder / "metrics/data.json").write_text('{"dataset": "<!--<script>"}')
    stage.publish(Path("plots/rows.json"), [{"true": "</script><SCRIPT>alert(1)</script>", "n": 1}])
    text = Path("plots/rows.json").read_text("utf-8")
    assert not re.search("</|<!|<s", text, re.IGNORECASE)
    assert json.loads(text)[0]["n"] == 1
    assert "alert(1)" in text


def test_bug_is_one_line_that_says_where_its_traceback_is(folder, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert ending(raising(ZeroDivisionError("by\nzero"))) == 1
    said = capsys.readouterr().err
    pattern = (
        r"error in train: a bug in k49, or in what was changed in it, at \S+test_stage\.py, "
        r"line \d+: ZeroDivisionError: by\\nzero; the traceback is in (\S+) "
        r"\(CONTRIBUTING.md says how to report it\)\n"
    )
    text = Path(re.fullmatch(pattern, said)[1]).read_text("utf-8")
    assert text.startswith("Traceback")
    assert "in raising" in text or "in main" in text


def test_bug_on_a_full_disk_is_one_line_that_says_where_it_was_raised(folder, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(folder / "none"))
    assert ending(raising(ZeroDivisionError())) == 1
    said = capsys.readouterr().err
    assert re.search(r"ZeroDivisionError: ; raised in test_stage.py, line \d+ \(", said)
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT], ids=lambda number: number.name)
def test_death_of_a_stage_is_said_by_who_is_left_behind(folder, number):
    """As when memory runs out: Linux kills the stage, or TensorFlow aborts it."""
    body = f"lambda _: os.kill(os.getpid(), {number})"
    script = f"import os; from k49 import stage; stage.run_stage({body})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -number
    line = (
        "error in -c: killed or aborted, most likely because memory ran out; lower fit.batch_size"
    )
    assert done.stderr.splitlines()[-1].startswith(line)


def save(name, dataset):
    rows = np.arange(len(dataset))
    stage.save_split(name, Subset(dataset.images, dataset.labels.argmax(1), rows, 49))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_signal_ends_with_status_130_and_one_line(folder, number, capsys):
    assert ending(lambda settings: os.kill(os.getpid(), number)) == 130
    assert capsys.readouterr().err == "train: stopped; `dvc repro` runs the rest\n"


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_training(folder, monkeypatch):
    """A real process with TensorFlow at work: no traceback, nothing half-written or left over."""
    temporary = tempfile.TemporaryDirectory()  # not below pytest's: names of sockets are short
    monkeypatch.setenv("TMPDIR", temporary.name)
    for name in ("train", "val"):
        save(name, bars(4, seed=0))
    (folder / "metrics").mkdir()
    (folder / "metrics/data.json").write_text('{"dataset": "bars"}')
    with start_stage("tune", folder, stderr=subprocess.PIPE, process_group=0) as running:
        for line in running.stdout:
            if line.startswith("trial 1/"):
                time.sleep(0.5)
                os.killpg(running.pid, signal.SIGINT)  # as a terminal does
                break
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in said
    assert "tune: stopped; `dvc repro` runs the rest\n" in said
    assert not list(folder.glob("m*/*.yaml")), "nothing is published"
    with temporary:
        assert not list(Path(temporary.name).glob("pymp-*")), "the folder of a socket"


def test_too_long_a_name_for_a_socket(folder, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(folder / ("x" * 80)))
    assert ending(lambda settings: start_server()) == 1
    assert re.search(r"TMPDIR: \d+ characters long, 70 at most", capsys.readouterr().err)


def test_nobody_who_reads_is_no_traceback(folder):
    """`python -m stages.check | head -0`."""
    command = f"{sys.executable} -m stages.check | true; exit ${{PIPESTATUS[0]}}"
    params = (folder / "params.yaml").read_text("utf-8")
    (folder / "params.yaml").write_text(
        params.replace("enabled: true ", "enabled: false "), "utf-8"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 141)  # 0: it was faster than the reader's end
    assert done.stderr == ""


# files between stages


def test_dataset_comes_back_memory_mapped(folder):
    dataset = bars(1, seed=0)
    save("val", dataset)
    again = stage.load_dataset("val")
    for name in ("images", "labels"):
        assert isinstance(getattr(again, name), np.memmap)
        np.testing.assert_array_equal(getattr(again, name), getattr(dataset, name))
    assert len(again) == 49


def test_published_figures_name_their_data(folder):
    (folder / "metrics").mkdir()
    (folder / "metrics/data.json").write_text('{"dataset": "bars"}')
    stage.publish(folder / "metrics/test.json", {"accuracy": 1.0})
    stage.publish(folder / "plots/rows.json", [{"a": 1}, {"a": 2}])
    assert json.loads((folder / "metrics/test.json").read_text()) == {
        "test_data": "bars",
        "accuracy": 1.0,
    }
    rows = json.loads((folder / "plots/rows.json").read_text())
    assert rows == [{"dataset": "bars", "a": 1}, {"dataset": "bars", "a": 2}]


def test_live_log_prints_and_keeps_every_epoch(folder, capsys):
    (folder / "metrics").mkdir()
    (folder / "metrics/data.json").write_text('{"dataset": "bars"}')
    log = stage.live_log(epochs=3)
    log({"loss": 2.0, "accuracy": 0.1, "val_loss": 3.0, "val_accuracy": 0.2})
    log({"loss": 1.5, "accuracy": 0.3, "val_loss": 2.5, "val_accuracy": 0.4})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 1/3  loss 2.0000  accuracy 0.1000  val_loss 3.0000  ")
    assert re.fullmatch(r"epoch 2/3  .*  \d+\.\d\d s an epoch, \d+ s left at most", lines[1])
    assert json.loads((folder / "plots/curves.json").read_text()) == [
        {"dataset": "bars", "epoch": 1, "split": "train", "loss": 2.0, "accuracy": 0.1},
        {"dataset": "bars", "epoch": 1, "split": "validation", "loss": 3.0, "accuracy": 0.2},
        {"dataset": "bars", "epoch": 2, "split": "train", "loss": 1.5, "accuracy": 0.3},
        {"dataset": "bars", "epoch": 2, "split": "validation", "loss": 2.5, "accuracy": 0.4},
    ]
