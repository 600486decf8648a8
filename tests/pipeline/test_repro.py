"""The pipeline as DVC runs it: every output, what reruns when, failures, the same bytes again."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from k49.data import NUM_CLASSES
from k49.files import read_yaml
from tests.helpers import OUTPUTS, STAGES, Repo, outputs, stages_run

pytestmark = pytest.mark.slow

# --- one run of everything -----------------------------------------------------------------------


def test_first_run_runs_every_stage_once(reproduced):
    log = reproduced.path.with_name("repro.log").read_text("utf-8")
    assert stages_run(log) == STAGES
    assert "Traceback" not in log
    assert "Warning" not in log


@pytest.mark.parametrize("path", OUTPUTS)
def test_output_is_there_and_holds_something(reproduced, path):
    whole = reproduced.path / path
    files = [whole] if whole.is_file() else [file for file in whole.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert file.stat().st_size > 0, file
        if file.suffix == ".json":
            assert json.loads(file.read_text("utf-8"))
        elif file.suffix == ".yaml":
            assert read_yaml(file)
        elif file.suffix == ".png":
            with Image.open(file) as picture:
                assert min(picture.size) > 300
                grey = np.asarray(picture.convert("L"))
            assert grey.std() > 5, f"{file} is blank"


def test_no_scraps_are_left(reproduced):
    left = [name for name in reproduced.contents() if Path(name).name.startswith(".")]
    assert not left
    assert not list((reproduced.path / "data/search").glob("*"))
    assert not reproduced.git("status", "--porcelain").stdout


def test_metrics_agree_with_predictions_and_each_other(reproduced):
    train, test = reproduced.read("metrics/train.json"), reproduced.read("metrics/test.json")
    with np.load(reproduced.path / "predictions/test.npz", allow_pickle=False) as predictions:
        probabilities, labels = predictions["probabilities"], predictions["labels"]
    assert probabilities.shape == (len(labels), NUM_CLASSES)
    assert test["accuracy"] == pytest.approx((probabilities.argmax(1) == labels).mean(), abs=1e-6)
    assert test["accuracy_95"][0] <= test["accuracy"] <= test["accuracy_95"][1]

    gap = train["train"]["accuracy"] - train["val"]["accuracy"]
    assert train["overfitting_gap"] == pytest.approx(gap, abs=1e-6)
    gap = train["val"]["accuracy"] - test["accuracy"]
    assert test["val_minus_test"] == pytest.approx(gap, abs=1e-6)

    raw = np.load(reproduced.path / "data/raw/k49-test-labels.npz")["arr_0"]
    np.testing.assert_array_equal(labels, raw)
    confusion = reproduced.read("plots/confusion.json")
    assert sum(row["images"] for row in confusion) == len(labels)
    right = sum(row["images"] for row in confusion if row["true"] == row["predicted"])
    assert test["accuracy"] == pytest.approx(right / len(labels), abs=1e-6)


def test_predictions_are_those_of_the_saved_model(reproduced):
    import keras

    network = keras.saving.load_model(reproduced.path / "models/mlp.keras", compile=False)
    images = np.load(reproduced.path / "data/raw/k49-test-imgs.npz")["arr_0"][..., np.newaxis]
    with np.load(reproduced.path / "predictions/test.npz", allow_pickle=False) as predictions:
        np.testing.assert_allclose(
            network.predict(images, verbose=0), predictions["probabilities"], atol=1e-5
        )


def test_every_metrics_file_says_that_it_is_the_standin(reproduced):
    files = [path for path in OUTPUTS if path.startswith("metrics/")]
    assert len(files) >= 4
    for path in files:
        assert reproduced.read(path)["dataset"].startswith("stand-in"), path


# --- what reruns ---------------------------------------------------------------------------------


def test_second_run_runs_nothing(fresh):
    output = fresh.dvc("repro").stdout
    assert not stages_run(output)
    assert output.count("didn't change") == len(STAGES)
    assert "up to date" in output
    assert not fresh.git("status", "--porcelain").stdout


# A comment at the end of files, and the stages that then run. DVC compares their outputs, so that a
# stage behind them runs only if these came out differently.
RERUNS = {
    "k49/data/download.py": ["fetch", "split"],
    "k49/data/warp.py": ["fetch", "split", "tune", "train"],
    "k49/data/classes.py": ["fetch", "split", "evaluate", "plot"],
    "k49/training/fit.py": ["tune", "train", "evaluate"],
    "k49/evaluation/figures.py": ["evaluate", "plot"],
    "stages/train.py": ["train"],
    "k49/settings.py k49/files.py k49/stage.py k49/cli.py k49/errors.py k49/__init__.py": [],
    "k49/inference/pictures.py k49/inference/predict.py README.md": [],
}


def test_what_a_comment_reruns(fresh):
    found = {}
    for names in RERUNS:
        before = {fresh.path / name: (fresh.path / name).read_bytes() for name in names.split()}
        for file, content in before.items():
            file.write_bytes(content + b"\n# a comment\n")
        found[names] = list(fresh.dvc_json("status"))
        for file, content in before.items():
            file.write_bytes(content)
    assert found == RERUNS


def test_byte_code_reruns_nothing(fresh):
    """A folder of code is a dependency; what Python leaves in it is not."""
    fresh.run("python", "-m", "compileall", "-q", "k49", "stages")
    assert list((fresh.path / "k49/training").rglob("*.pyc"))
    assert not fresh.dvc_json("status")


def test_fresh_clone_without_a_cache_ends_clean(reproduced, tmp_path):
    """What is not in git is made again, and comes out byte for byte; then so do the pictures.

    (That a search comes out the same is a test of its own.)
    """
    reproduced.git("clone", "--quiet", reproduced.path, tmp_path / "clone")
    clone = Repo(tmp_path / "clone")
    assert stages_run(clone.dvc("repro").stdout) == ["fetch", "split", "train", "evaluate"]
    assert not clone.git("status", "--porcelain").stdout
    assert stages_run(clone.dvc("repro", "--force", "--single-item", "plot").stdout) == ["plot"]
    assert not clone.git("status", "--porcelain").stdout
    before, after = reproduced.contents(), clone.contents()
    assert sorted(before) == sorted(after)
    assert not [name for name in before if before[name] != after[name]]


# --- failures ------------------------------------------------------------------------------------


def test_bad_setting_stops_the_pipeline_and_a_good_one_mends_it(fresh):
    params = fresh.path / "params.yaml"
    good, before = params.read_text("utf-8"), fresh.contents()
    params.write_text(re.sub(r"(?m)^train:(.*)$", r"train:\1\n  epoch: 3", good), "utf-8")

    failed = fresh.dvc("repro", check=False)
    assert failed.returncode != 0
    assert "Traceback" not in failed.stdout
    assert stages_run(failed.stdout) == ["train"]
    said = [line for line in failed.stdout.splitlines() if line.startswith("error in train: ")]
    assert len(said) == 1
    assert "params.yaml: train.epoch: unknown key, known here: " in said[0]
    # DVC itself takes a stage's own outputs away before it runs the stage
    after = fresh.contents()
    own = [p for p in before if any(p == o or p.startswith(f"{o}/") for o in outputs("train"))]
    assert {name for name in before if after.get(name) != before[name]} <= set(own)

    params.write_text(good, "utf-8")
    fresh.dvc("repro")
    assert fresh.contents() == before, "with the good setting all is as it was"
