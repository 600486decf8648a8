"""The command `k49 predict`: what it prints, and what it refuses."""

import csv
import io
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from k49 import cli
from k49.export import Form, export
from k49.inference import predict as output
from k49.inference.predict import read, stack
from k49.text import code_point
from tests.helpers import (
    SHAPE,
    SMALL_MODEL,
    environment,
    info_of,
    ink,
    plain,
    provenance_of,
    save_as,
    saved,
)

ARRAY = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)


def rows_of(name: str) -> list[dict]:
    candidate = {
        "character": "あ",
        "code_point": "U+3042",
        "probability": 0.5,
        "uncertain": True,
        "outlier": False,
        "note": "",
    }
    return [{"image": name, "rank": rank, **candidate} for rank in (1, 2)]


@pytest.mark.parametrize("name", ["a.png", "page[red].png", "page[/b].png", "x" * 120 + ".png"])
def test_names_are_printed_as_they_are(capsys, name):
    cli.show(output.as_table(rows_of(name)))
    table = capsys.readouterr().out
    assert table.count(name) == 1  # at rank 1 only
    assert table.count("U+3042") == 2
    assert table.count("uncertain") == 1
    rows = csv.DictReader(io.StringIO(output.as_csv(rows_of(name))))
    assert [row["image"] for row in rows] == [name, name]
    assert json.loads(output.as_json(rows_of(name))) == rows_of(name)


@pytest.mark.parametrize(
    ("uncertain", "outlier", "says"),
    [(None, None, ""), (False, False, ""), (True, False, "uncertain"), (True, True, "unlike")],
)
def test_what_is_doubtful_is_said(uncertain, outlier, says):
    said = output.doubt({"uncertain": uncertain, "outlier": outlier, "note": ""})
    assert said.startswith(says)
    assert bool(said) == bool(says)


def k49(*arguments: str | Path, folder: Path, **options) -> subprocess.CompletedProcess:
    """Run the installed command."""
    env = options.pop("env", environment(folder))
    return subprocess.run(
        ["k49", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        **options,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "a.png", "--format", "xml"], "'xml' is not one of 'table', 'json', 'csv'."),
        (["predict", "a.png", "--top", "999"], "'--top': should be less than or equal to 256"),
        (["predict"], "Missing argument 'images'."),
        (["nonsense"], "No such command 'nonsense'."),
    ],
)
def test_wrong_options_are_refused_in_one_line(tmp_path, arguments, said):
    """Was: in a frame, and with a library's "Value error"."""
    done = k49(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(f"{said}\n")
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an untrained model, a picture and an array of four images."""
    from k49.training.model import build_model

    model = build_model(SMALL_MODEL, plain(batch_normalization=True, dropout=0.1), *SHAPE)
    folder = tmp_path_factory.mktemp("command")
    said = provenance_of("stand-in (drawn, not K49)")
    save_as(folder / "models" / "model.keras", model, said)
    saved(folder / "ink.png", Image.fromarray(255 - ink()))
    np.savez(folder / "many.npz", ARRAY)
    return folder


@pytest.mark.parametrize("name", ["none.png", "text.png", "array.npy"])
def test_command_refuses_in_one_line(folder, tmp_path, name):
    (tmp_path / "text.png").write_text("no picture")
    np.save(tmp_path / "array.npy", np.zeros((0, 28, 28), np.uint8))
    done = k49("predict", name, "--model", folder / "models/model.keras", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert name in done.stderr


def run_here(monkeypatch, capsys, folder: Path, *arguments: str) -> str:
    """Run the command in this process, where Keras is loaded already; returns what it prints."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["k49", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_command_prints_json(folder, monkeypatch, capsys):
    """What it prints is what the model says of each picture."""
    from k49.inference.models import open_model
    from k49.inference.predict import predict

    rows = json.loads(
        run_here(monkeypatch, capsys, folder, "predict", "ink.png", "many.npz", "--format", "json")
    )
    names = ["ink.png", *(f"many.npz[{i}]" for i in range(4))]
    assert [row["image"] for row in rows] == [name for name in names for _ in range(5)]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5] * 5
    ((_, image),), _ = read(folder / "ink.png", info_of())
    batch = stack([image, *ARRAY])
    candidates = predict(open_model(folder / "models" / "model.keras"), batch, top=5)
    for row, expected in zip(rows, (item for each in candidates for item in each), strict=True):
        assert row["character"] == expected["character"]
        assert row["code_point"] == expected["code_point"]
        assert row["probability"] == pytest.approx(expected["probability"], abs=1e-5)


def test_command_prints_csv(folder, monkeypatch, capsys):
    printed = [
        run_here(monkeypatch, capsys, folder, "predict", "many.npz", "--format", form)
        for form in ("json", "csv")
    ]
    rows = [
        {key: "" if value is None else str(value) for key, value in row.items()}
        for row in json.loads(printed[0])
    ]
    assert list(csv.DictReader(io.StringIO(printed[1]))) == rows


def test_command_prints_a_table(folder):
    """The installed command, in a process of its own."""
    done = k49("predict", "ink.png", "many.npz", "--top", "3", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr  # it need not be empty: libraries may have a say
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["image", "character", "code", "point", "probability"]
    names = ["ink.png", *(f"many.npz[{i}]" for i in range(4))]
    assert [line.split()[0] for line in lines[::3]] == names
    for line in lines:
        character, code, probability = line.split()[-3:]
        assert code == code_point(character)
        assert 0 <= float(probability) <= 1
    assert len(lines) == 15


@pytest.mark.parametrize("model", ["none.keras", "ink.png", "many.npz"])
def test_command_refuses_what_is_no_model(folder, monkeypatch, capsys, model):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["k49", "predict", "ink.png", "--model", model])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {model}: ")
    assert len(said.splitlines()) == 1


def test_bad_picture_costs_only_itself(folder, tmp_path):
    """Was: one bad picture, and nothing was said of the good ones."""
    saved(tmp_path / "blank.png", Image.new("L", (90, 90), 240))
    (tmp_path / "text.png").write_text("no picture")
    bad = (tmp_path / "blank.png", tmp_path / "none.png", tmp_path / "text.png")
    done = k49("predict", bad[0], "ink.png", *bad[1:], "--format", "csv", folder=folder)
    assert done.returncode == 1
    names = [row["image"] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert names == ["ink.png"] * 5
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [str(path) in line for path, line in zip(bad, said, strict=True)] == [True] * 3
    assert "blank" in said[0]
    assert "Traceback" not in done.stderr


def test_model_says_what_it_was_trained_on(folder):
    """Was: confident nonsense of a model that had learnt the stand-in, without a word."""
    done = k49("predict", "ink.png", folder=folder)
    assert done.returncode == 0
    assert "models/model.keras: trained on stand-in (drawn, not K49); mlp of [16, 8]" in done.stderr
    assert "warning: the stand-in is drawn" in done.stderr
    assert "stand-in" not in done.stdout


def test_model_of_the_project_is_found_from_a_folder_inside(folder, monkeypatch, capsys):
    """Was: models/model.keras of the folder that one is in, which was not there."""
    (folder / "dvc.yaml").touch()
    (folder / "inside" / "deeper").mkdir(parents=True)
    picture = str(folder / "ink.png")
    inside = run_here(monkeypatch, capsys, folder / "inside" / "deeper", "predict", picture)
    assert inside == run_here(monkeypatch, capsys, folder, "predict", picture)


def test_picture_on_standard_input(folder):
    with (folder / "ink.png").open("rb") as file:
        done = k49("predict", "-", "--format", "csv", folder=folder, stdin=file)
    assert [row["image"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["-"] * 5


def test_terminal_without_japanese(folder, tmp_path):
    export(folder / "models/model.keras", {Form.onnx: tmp_path / "model.onnx"})
    env = {**environment(folder, warm=False), "PYTHONIOENCODING": "ascii"}
    done = k49("predict", "ink.png", "--model", tmp_path / "model.onnx", folder=folder, env=env)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\\u") == 5


def test_version(monkeypatch, capsys, tmp_path):
    assert run_here(monkeypatch, capsys, tmp_path, "--version") == f"k49 {version('k49')}\n"
