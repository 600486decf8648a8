"""Experiments: variations of parameters and data, compared and run elsewhere."""

import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from k49.io import read_yaml, write_yaml
from k49.stage import load_settings
from tests import forms
from tests.forms import made
from tests.helpers import (
    CHARACTERS,
    DAG,
    GUIDE,
    KEPT,
    OUTPUTS,
    STAGES,
    Repo,
    browser,
    mirror_of,
    stages_run,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def experiment(reproduced, tmp_path_factory):
    """A repository after `dvc exp run` with another learning rate, and what that printed."""
    repo = reproduced.copy_to(tmp_path_factory.mktemp("experiment"))
    return repo, repo.dvc("exp", "run", "-S", "train.learning_rate=1e-5").stdout


def test_experiment_takes_a_number_in_scientific_notation(experiment, reproduced):
    repo, output = experiment
    assert stages_run(output) == ["check", "train", "calibrate", "evaluate", "export", "plot"]
    assert load_settings(repo.path / "params.yaml").train.learning_rate == 1e-5
    loss = [each.read("metrics/train.json")["val_loss"] for each in (repo, reproduced)]
    assert loss[0] > loss[1], "so small a rate learns less"


def test_experiment_changes_one_line_of_params(experiment):
    repo, _ = experiment
    diff = repo.git("diff", "--unified=0", "params.yaml").stdout.splitlines()
    removed = [line for line in diff if re.match(r"-(?!--)", line)]
    added = [line for line in diff if re.match(r"\+(?!\+\+)", line)]
    assert (len(removed), len(added)) == (1, 1), "\n".join(diff)
    assert added[0].startswith("+  learning_rate: ")


def test_metrics_diff_shows_accuracy_and_gap(experiment):
    repo, _ = experiment
    diff = repo.dvc_json("metrics", "diff")
    assert {"old", "new", "diff"} <= set(diff["metrics/test.json"]["test_accuracy"])
    assert {"old", "new", "diff"} <= set(diff["metrics/train.json"]["overfitting_gap"])
    shown = repo.dvc("metrics", "diff").stdout
    assert re.search(r"metrics/test\.json\s+test_accuracy\s", shown)
    assert re.search(r"metrics/train\.json\s+overfitting_gap\s", shown)


def test_params_diff_shows_the_changed_parameter_alone(experiment):
    repo, _ = experiment
    diff = repo.dvc_json("params", "diff")
    assert {path: list(changed) for path, changed in diff.items()} == {
        "params.yaml": ["train.learning_rate"]
    }
    assert "train.learning_rate" in repo.dvc("params", "diff").stdout


# The guide's line, and what it is for
COLUMNS = (
    *("overfitting_gap", "test_accuracy"),
    *("train.epochs", "train.learning_rate"),
)


def test_table_of_experiments_is_readable(experiment):
    """Was: 126 columns, 2,975 characters wide, with file names; now without, and within 160."""
    repo, _ = experiment
    line, *_ = re.findall(r"^\$ (dvc exp show .*?)\s+#", GUIDE, re.MULTILINE)
    shown = repo.run(*shlex.split(line)).stdout.splitlines()
    assert max(map(len, shown)) <= 160
    head = next(line for line in shown if "Experiment" in line).split()
    assert sorted(head) == sorted(["Experiment", *COLUMNS])  # DVC's order of files is by chance

    plain = ("dvc", "exp", "show", "--only-changed", "--no-pager")
    shown = repo.run("env", "COLUMNS=160", *plain).stdout
    assert max(map(len, shown.splitlines())) <= 160
    assert "overfitting_gap" in shown or "test_accuracy" in shown
    everything = repo.dvc("exp", "show", "--only-changed", "--csv").stdout.splitlines()[0]
    assert ":" not in everything, "no file names"


@pytest.mark.parametrize("command", ["show", "diff"])
def test_plots_page_holds_confusion_and_loss(experiment, tmp_path, command):
    repo, _ = experiment
    repo.dvc("plots", command, "--out", tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    page = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), page)
    row = repo.read("plots/confusion.json")[0]
    for key in ("true", "predicted"):
        assert re.search(rf'"{key}":\s*"{row[key]}"', page), f"no confusion data: {key}"
    losses = [row["loss"] for row in repo.read("plots/curves.json")]
    assert losses
    assert all(str(loss) in page for loss in losses), "no loss data"
    charts = page.count("vegaEmbed(")
    assert charts == len([each for each in DAG["plots"] if ".png" not in str(each)]), "each once"
    assert "Template" not in page
    for path in OUTPUTS:
        if path.endswith(".png"):
            assert Path(path).stem in page


# --- other data, other code, in a folder of DVC's ------------------------------------------------


@pytest.fixture(scope="module")
def elsewhere(reproduced, tmp_path_factory):
    """A repository after `dvc exp run --temp` on other data, the changed k49 uncommitted.

    Gives the repository as it is, a copy with the experiment applied, the mirror, and what was
    printed.
    """
    folder = tmp_path_factory.mktemp("temp")
    repo = reproduced.copy_to(folder)
    mirror = mirror_of(repo.path / "data/raw", folder / "mirror")
    figures = repo.path / "k49/plots/figures.py"
    figures.write_text(figures.read_text("utf-8") + "\nprint('figures from', __file__)\n", "utf-8")
    changes = (f"data.source={mirror}", "train.epochs=1")
    settings = [word for change in changes for word in ("-S", change)]
    output = repo.dvc("exp", "run", "--temp", "--name", "other", *settings).stdout
    (folder / "applied").mkdir()
    applied = repo.copy_to(folder / "applied")
    applied.dvc("exp", "apply", "other")
    return repo, applied, mirror, output


def test_other_data_rerun_everything(elsewhere):
    *_, output = elsewhere
    assert stages_run(output) == STAGES
    assert "Warning" not in output
    assert "Traceback" not in output


def test_search_of_a_temp_experiment_is_not_run_again(elsewhere):
    """Was: the results went with its folder, and each such run searched anew."""
    repo, applied, *_ = elsewhere
    shutil.copytree(repo.path / "data/search", applied.path / "data/search", dirs_exist_ok=True)
    rows = applied.read("plots/trials.json")
    output = applied.dvc("repro", "--force", "--single-item", "tune").stdout
    assert "trials were trained before: their results are from data/search" in output
    assert applied.read("plots/trials.json") == rows


def test_temp_experiment_runs_its_own_copy_of_k49(elsewhere, reproduced):
    repo, applied, _, output = elsewhere
    origin = re.search(r"figures from (.+)", output)[1]
    assert Path(origin).is_relative_to(repo.path / ".dvc/tmp/exps"), origin
    assert repo.contents() == reproduced.contents(), "the workspace stays as it was"
    assert [each.read("metrics/train.json")["epochs"] for each in (repo, applied)] == [2, 1]


def test_figures_on_three_classes(elsewhere):
    _, applied, _, _ = elsewhere
    characters = [CHARACTERS[label] for label in KEPT]
    data, test = applied.read("metrics/data.json"), applied.read("metrics/test.json")
    assert data["classes"] == 3
    for split, number in data["images_of_class"].items():
        assert np.flatnonzero(number).tolist() == KEPT, split
    name = data["dataset"]
    assert re.fullmatch(r"mirror \([0-9a-f]{8}\)", name), "the folder's last name, no path"
    for path in OUTPUTS:
        if path.startswith("metrics/"):
            assert name in applied.read(path).values(), path
        elif path.endswith(".json"):
            assert {row["dataset"] for row in applied.read(path)} == {name}, path
    rows = applied.read("plots/per_class.json")
    assert [row["character"] for row in rows] == characters
    assert test["test_balanced_accuracy"] == pytest.approx(
        np.mean([row["recall"] for row in rows]), abs=1e-3
    )
    assert {row["true"] for row in applied.read("plots/confusion.json")} == set(characters)
    with Image.open(applied.path / "plots/mistakes.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_same_files_in_another_folder_rerun_no_training(elsewhere, tmp_path):
    """Was: the folder's path, in metrics/data.json, was a dependency of the search."""
    _, applied, mirror, _ = elsewhere
    shutil.copytree(mirror, tmp_path / "copy")
    output = (
        applied.copy_to(tmp_path).dvc("exp", "run", "-S", f"data.source={tmp_path / 'copy'}").stdout
    )
    after = ["calibrate", "evaluate", "export", "plot"]  # which name the data
    assert stages_run(output) == ["check", "fetch", "split", *after]


def test_charts_name_their_data_from_the_data(elsewhere, tmp_path):
    """Was: in a diff of two data sets both curves carried the workspace's data.source."""
    _, applied, mirror, _ = elsewhere
    page = applied.dvc("plots", "diff", "HEAD", "--json").stdout
    charts = json.loads(page[page.index("{") :])["data"]
    assert {"loss", "accuracy", "plots/confusion.json"} <= charts.keys()
    for name, (chart, *_) in charts.items():
        if not name.endswith(".png"):
            rows = chart["content"]["data"]["values"] if "content" in chart else chart["datapoints"]
            text = json.dumps(rows)
            assert "stand-in (drawn, not K49)" in text, name
            assert "mirror (" in text, name
            assert str(mirror) not in json.dumps(chart), name


# A proxy that isn't there: whatever the page would load from elsewhere fails, and says so.
OPTIONS = ["--no-sandbox", "--proxy-server=http://127.0.0.1:9"]
SIZE = {"width": 1300, "height": 3000}  # pixels of the window
CHARTS = [each for each in DAG["plots"] if ".png" not in str(each)]
PICTURES = [each for each in DAG["plots"] if ".png" in str(each)]


def test_every_chart_is_drawn_without_a_network(elsewhere, tmp_path):
    """Of a comparison with an experiment on other data: nothing is the same in both revisions."""
    _, applied, *_ = elsewhere
    applied.dvc("plots", "diff", "--out", tmp_path / "page")
    wrong = []
    with sync_playwright() as playwright:
        options = {"executable_path": browser(), "args": OPTIONS}
        page = playwright.chromium.launch(**options).new_page(viewport=SIZE)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((tmp_path / "page/index.html").as_uri())
        page.wait_for_function(f"document.querySelectorAll('svg.marks').length == {len(CHARTS)}")
        dom = page.content()
        page.screenshot(path=tmp_path / "page.png")
    assert not wrong
    charts = re.findall(r'<svg[^>]+class="marks" width="(\d+)" height="(\d+)"', dom)
    assert len(charts) == len(CHARTS)
    assert all(min(int(width), int(height)) > 90 for width, height in charts)
    assert len(re.findall(r'<img src="static/', dom)) == 2 * len(PICTURES)
    for text in (
        "HEAD",
        "workspace",
        "Loss",
        "Accuracy",
        "Confusion on test",
        "Trials of the search",
    ):
        assert f">{text}</text>" in dom
    assert all(f">{CHARACTERS[label]}</text>" in dom for label in (4, 17, 48))
    assert re.search(r">\d+\.\d%</text>", dom), "accuracy in percent"
    with Image.open(tmp_path / "page.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20, "blank"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a server of KMNIST's files under their published names, small ones."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = forms.idx(tmp_path / "served", made(10, (28, 28), (30, 8)))
    with forms.served(folder) as address:
        yield address


def test_kmnist_from_its_mirror(fresh, server, tmp_path):
    """As published, but for the sums, which are those of the small files."""
    description = read_yaml(fresh.path / "k49/datasets/kmnist.yaml")
    mirror = f"data.mirrors=[{server}]"
    once = ("-S", "data.retries=0")
    wrong = fresh.dvc("exp", "run", "-S", "data.source=kmnist", "-S", mirror, *once, check=False)
    assert wrong.returncode
    assert "train-images-idx3-ubyte.gz (expected: 18165135 bytes, MD5 bdb82020" in wrong.stdout
    for name in description["files"]:
        content = (tmp_path / "served" / name).read_bytes()
        description["files"][name] = {"md5": hashlib.md5(content).hexdigest()}
    write_yaml(fresh.path / "datasets/kmnist.yaml", description)
    short = ("-S", "tune.trials=1")
    output = fresh.dvc("exp", "run", "-S", "data.source=kmnist", "-S", mirror, *short).stdout
    assert "4 files downloaded, verified by their MD5 sums and their contents" in output
    assert stages_run(output)[-6:] == STAGES[-6:]
    assert fresh.read("metrics/data.json")["dataset"] == "Kuzushiji-MNIST"
    characters = {row["character"] for row in fresh.read("plots/per_class.json")}
    assert characters == set("おきすつなはまやれを")
    assert "CC BY-SA 4.0" in fresh.read("MODEL_CARD.md")
    refused = fresh.run("k49", "compare", check=False)
    assert refused.returncode == 1
    assert "have other test images" in refused.stdout
    described = {"title": "Kana of ours", "licence": "CC0", "warning": "made by hand"}
    write_yaml(fresh.path / "datasets/kmnist.yaml", description | described)
    ran = stages_run(fresh.dvc("repro").stdout)  # was: nothing behind split, and all kept the old
    assert ran == ["fetch", "split", "calibrate", "evaluate", "export", "plot"]
    page = (fresh.path / "models/reader.html").read_text("utf-8")
    exported = (fresh.path / "models/model.onnx").read_bytes().decode("utf-8", "replace")
    for text in (fresh.read("MODEL_CARD.md"), page, exported):
        assert all(value in text for value in described.values())
    lenient = fresh.run("k49", "compare", "--if-comparable")  # as `make repro` does
    assert lenient.stdout.startswith("nothing to compare with: HEAD (")
    assert len(lenient.stdout.splitlines()) == 1


LOOKED_AT = (
    "params.yaml",
    "metrics/test.json",
    "metrics/train.json",
    "predictions/test_classes.npz",
)


def test_git_sees_what_a_refused_experiment_left(fresh, tmp_path):
    """Was: in 9 of 10 tries not, and then `git add -A` left changed metrics out of a commit."""
    fresh.dvc("exp", "run", "-S", "train.epochs=-1", check=False)  # of the same size
    assert fresh.git("diff", "--name-only").stdout.split() == ["params.yaml"]
    fresh.git("checkout", "--quiet", ".")
    assert fresh.read("params.yaml")["train"]["epochs"] == 2
    fresh.dvc("exp", "run", "-S", "train.epochs=3", "-S", "train.learning_rate=0.003")
    fresh.dvc("exp", "run", "-S", "train.epochs=0", check=False)
    fresh.set_param("train.epochs", 3)
    fresh.commit("Another rate")
    fresh.git("clone", "--quiet", ".", tmp_path / "clone")
    for name in LOOKED_AT:
        assert (tmp_path / "clone" / name).read_bytes() == (fresh.path / name).read_bytes()
        assert name in fresh.git("show", "--name-only", "--format=").stdout


def test_clone_of_git_for_windows_is_the_same_bytes(reproduced, tmp_path):
    """Was: CRLF in all files, so that every stage was stale and bash read no script."""
    repo = Repo(tmp_path / "clone")
    reproduced.git("clone", "--quiet", "--config", "core.autocrlf=true", ".", repo.path)
    for name in filter(None, repo.git("ls-files", "-z").stdout.split("\0")):
        assert (repo.path / name).read_bytes() == (reproduced.path / name).read_bytes(), name


def test_merge_of_two_experiments_by_the_guide(fresh):
    """Two branches that change one parameter each, in the same files; then what the guide says."""
    for branch, change in (("longer", "train.epochs=3"), ("drawn", "evaluate.resamples=101")):
        fresh.git("checkout", "--quiet", "-b", branch, "main")
        fresh.dvc("checkout", "--force", "--quiet")
        fresh.dvc("exp", "run", "-S", change)
        fresh.commit(branch)
    assert "CONFLICT" in fresh.git("merge", "longer", check=False).stdout
    (block,) = re.findall(r"```console\n(\$ git checkout --ours.*?)```", GUIDE, re.DOTALL)
    lines = [line.partition("  #")[0] for line in re.findall(r"^\$ (.+)", block, re.MULTILINE)]
    outputs = [fresh.run("bash", "-c", line).stdout for line in lines]
    params = load_settings(fresh.path / "params.yaml")
    assert (params.train.epochs, params.evaluate.resamples) == (3, 101)
    ran = [stage for output in outputs for stage in stages_run(output)]
    assert ran == ["check", "train", "evaluate", "export", "plot"], "calibrate is cached"
    assert not fresh.dvc_json("status")
    assert not fresh.git("status", "--porcelain").stdout


OWN = """
from keras import layers

def mine(x, hp, fit):
    x = layers.AveragePooling2D(2)(x)
    for units in hp.units:
        x = layers.SeparableConv2D(units, 3, activation=hp.activation)(x)
    return layers.GlobalMaxPooling2D()(x)
"""


def test_network_of_ones_own_is_one_file(fresh):
    """A function of it in networks/ and a space that names it: nothing else knows of it."""
    (fresh.path / "networks/mine.py").write_text(OWN)
    fresh.git("add", "networks/mine.py")
    change = "spaces.default.network=networks.mine:mine"
    output = fresh.dvc("exp", "run", "-S", change, "-S", "tune.trials=1").stdout
    assert stages_run(output) == [
        "check",
        "tune",
        "train",
        "calibrate",
        "evaluate",
        "export",
        "plot",
    ]
    assert fresh.read("models/hyperparameters.yaml")["network"] == "networks.mine:mine"
    assert "Network: networks.mine:mine of [" in fresh.read("MODEL_CARD.md")
    assert fresh.read("metrics/test.json")["test_accuracy"] > 0
    many = fresh.path / "many.npy"
    np.save(many, np.load(fresh.path / "data/raw/test_images.npy")[:3])
    assert len(fresh.run("k49", "predict", many, "--top", "1").stdout.splitlines()) >= 4
    (fresh.path / "networks/mine.py").write_text(OWN.replace("Max", "Average"))
    assert list(fresh.dvc_json("status")) == ["tune", "train"]
