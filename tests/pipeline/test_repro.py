"""The pipeline as DVC runs it: every output, what reruns when, failures, the same bytes again."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from k49.io import read_yaml
from tests.helpers import OUTPUTS, STAGES, Repo, stages_run

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
    assert not reproduced.git("status", "--porcelain").stdout


def test_metrics_agree_with_predictions_and_each_other(reproduced):
    train, test = reproduced.read("metrics/train.json"), reproduced.read("metrics/test.json")
    with np.load(reproduced.path / "predictions/test.npz", allow_pickle=False) as predictions:
        probabilities, labels = predictions["probabilities"], predictions["labels"]
    assert probabilities.shape == (len(labels), 49)
    assert test["test_accuracy"] == pytest.approx(
        (probabilities.argmax(1) == labels).mean(), abs=1e-6
    )
    assert test["test_accuracy_low"] <= test["test_accuracy"] <= test["test_accuracy_high"]

    gap = train["train_accuracy"] - train["val_accuracy"]
    assert train["overfitting_gap"] == pytest.approx(gap, abs=1e-6)
    gap = train["val_accuracy"] - test["test_accuracy"]
    assert test["val_minus_test"] == pytest.approx(gap, abs=1e-6)

    raw = np.load(reproduced.path / "data/raw/test_labels.npy")
    np.testing.assert_array_equal(labels, raw)
    confusion = reproduced.read("plots/confusion.json")
    assert sum(row["images"] for row in confusion) == len(labels)
    right = sum(row["images"] for row in confusion if row["true"] == row["predicted"])
    assert test["test_accuracy"] == pytest.approx(right / len(labels), abs=1e-6)


def test_predictions_are_those_of_the_saved_model(reproduced):
    import keras

    network = keras.saving.load_model(reproduced.path / "models/model.keras", compile=False)
    images = np.load(reproduced.path / "data/raw/test_images.npy")[..., np.newaxis]
    with np.load(reproduced.path / "predictions/test.npz", allow_pickle=False) as predictions:
        np.testing.assert_allclose(
            network.predict(images, verbose=0), predictions["probabilities"], atol=1e-5
        )


def test_every_metrics_file_says_that_it_is_the_standin(reproduced):
    files = [path for path in OUTPUTS if path.startswith("metrics/")]
    assert len(files) >= 4
    for path in files:
        content = reproduced.read(path)
        key = "dataset" if path == "metrics/data.json" else f"{Path(path).stem}_data"
        assert content[key].startswith("stand-in"), path


def test_metrics_are_flat_numbers_under_unique_names(reproduced):
    """So that DVC shows every one of them, without file names; was: lists, and `accuracy` twice."""
    shown = reproduced.dvc_json("metrics", "show")[""]["data"]
    assert sorted(shown) == ["metrics/test.json", "metrics/train.json", "metrics/tune.json"]
    names = [name for each in shown.values() for name in each["data"]]
    assert len(names) == len(set(names))
    for each in shown.values():
        assert {type(value) for value in each["data"].values()} <= {float, int, str}
    assert set(names) >= {
        *("train_accuracy", "val_accuracy", "val_loss", "overfitting_gap", "test_accuracy"),
        *("test_accuracy_low", "test_accuracy_high", "test_balanced_accuracy"),
    }


def test_curves_count_epochs_from_1(reproduced):
    curves = reproduced.read("plots/curves.json")
    epochs = reproduced.read("metrics/train.json")["epochs"]
    assert [row["epoch"] for row in curves] == [n for n in range(1, epochs + 1) for _ in range(2)]


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
    "k49/data/standin/hands.py": ["fetch", "split"],
    "k49/kanjivg.py k49/pictures/ink.py": ["fetch", "export"],
    "datasets/README.md networks/README.md labels/README.md": [],  # was: an hour
    "k49/data/arrays.py": ["fetch", "split", "evaluate", "export", "plot"],
    "k49/datasets/kmnist.yaml": ["fetch"],
    "k49/search/search.py": ["tune"],
    "k49/training/fit.py": ["tune", "train", "calibrate", "evaluate", "export"],
    "k49/calibration/detector.py": ["calibrate", "evaluate", "export"],  # was: an hour
    "k49/export/network.py k49/page.py": ["export"],
    "k49/evaluation/metrics.py": ["evaluate", "plot"],
    "k49/plots/figures.py": ["plot"],
    "stages/train.py": ["train"],
    "k49/settings.py": ["check"],
    "k49/io.py k49/progress.py k49/process.py k49/stage.py": [],
    "k49/cli.py k49/errors.py k49/__init__.py": [],
    "k49/recipes/report.yaml": [],
    "k49/inference/models.py k49/inference/predict.py README.md": [],
    "k49/comparison/compare.py k49/revisions.py": [],
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


# A changed setting, and the stages that it makes stale, besides `check`, which reads all of them.
STALE = {
    "data.exclude": ["split"],
    "standin.seed": ["fetch"],
    "split.seed": ["split"],
    "tune.seed": ["tune"],
    "tune.workers": [],
    "tune.scheduler": [],
    "train.seed": ["train"],
    "evaluate.seed": ["evaluate"],
    "evaluate.shifts": ["calibrate", "evaluate"],  # was: trained again
    "spaces.default.layers.max": ["tune"],
    "spaces.report.layers.max": [],  # not the space that tune.space names
    "data.retries": [],
    "data.mirrors": ["fetch"],  # which decide what a description without files holds
}


def test_what_a_setting_makes_stale(fresh):
    """Was: one seed for everything, and a space that nobody uses reran the search."""
    params = fresh.path / "params.yaml"
    before, found = params.read_text("utf-8"), {}
    for key in STALE:
        fresh.set_param(key, 3)
        found[key] = list(fresh.dvc_json("status"))
        params.write_text(before, "utf-8")
    assert found == {key: ["check", *stages] for key, stages in STALE.items()}


def test_single_stage_with_a_bad_setting_keeps_its_outputs(fresh):
    """Was: `dvc repro train` took the model away, and then refused the setting."""
    before = fresh.contents()
    fresh.set_param("train.epochs", 0)
    refused = fresh.dvc("repro", "train", check=False)
    assert refused.returncode
    assert "train.epochs: should be greater than or equal to 1, is 0" in refused.stdout
    after = fresh.contents()
    assert {name for name in before if after.get(name) != before[name]} <= {"dvc.lock"}


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
    assert stages_run(clone.dvc("repro").stdout) == [
        *("check", "fetch", "split", "train", "calibrate", "evaluate", "export")
    ]
    assert not clone.git("status", "--porcelain").stdout
    assert stages_run(clone.dvc("repro", "--force", "--single-item", "plot").stdout) == ["plot"]
    assert not clone.git("status", "--porcelain").stdout
    before, after = reproduced.contents(), clone.contents()
    assert sorted(before) == sorted(after)
    assert not [name for name in before if before[name] != after[name]]


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["train.epochs", "data.retries", "spaces.report.units.step"])
def test_bad_setting_is_refused_before_anything_is_lost(fresh, key):
    """Was: DVC took a stage's outputs away before it refused, or no stage ran and none did."""
    before = fresh.contents()
    fresh.set_param(key, 0 if key != "data.retries" else 99)

    failed = fresh.dvc("repro", check=False)
    assert failed.returncode != 0
    assert "Traceback" not in failed.stdout
    assert stages_run(failed.stdout) == ["check"]
    said = [line for line in failed.stdout.splitlines() if line.startswith("error in check: ")]
    assert len(said) == 1
    assert f"params.yaml: {key}: should be " in said[0]
    assert fresh.contents() == before

    fresh.git("checkout", "params.yaml")
    assert not stages_run(fresh.dvc("repro").stdout)


def test_setting_without_effect_is_named(fresh):
    fresh.set_param("fit.schedule", "constant")
    output = fresh.dvc("repro", "check").stdout
    assert "note: fit.warmup_ratio has no effect: fit.schedule is constant" in output


def test_way_back_after_a_stop_in_the_middle(fresh):
    """The guide's line; was: `dvc checkout` refused to, since data/raw was half there."""
    fresh.set_param("standin.seed", 50)
    raw = fresh.path / "data/raw"
    (raw / "dataset.json").unlink()
    (raw / "test_images.npy").write_bytes(b"a stage that was stopped")
    fresh.git("checkout", ".")
    fresh.dvc("checkout", "--force")
    assert "up to date" in fresh.dvc("repro").stdout
    assert not fresh.git("status", "--porcelain").stdout
