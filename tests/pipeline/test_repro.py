"""The pipeline as DVC runs it: every output, what reruns when, experiments, failures, repeats."""

import ast
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from k49.classes import CHARACTERS, NUM_CLASSES
from k49.pipeline import load_settings, read_yaml, write_yaml
from PIL import Image

from k49.errors import K49Error
from k49.files import write_json

ROOT = Path(__file__).resolve().parents[1]
DAG = read_yaml(ROOT / "dvc.yaml")
STAGES = list(DAG["stages"])
KINDS = ("outs", "metrics", "plots")
WITHOUT_KERAS = ("fetch", "split", "plot")


def paths(entries):
    """The paths in a list of dvc.yaml, whose entries are plain or have settings."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def outputs(stage):
    return [path for kind in KINDS for path in paths(DAG["stages"][stage].get(kind, []))]


OUTPUTS = [path for stage in STAGES for path in outputs(stage)]


def stages_run(output):
    """The stages that an output of `dvc repro` or `dvc exp run` says were run."""
    return re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE)


# --- what each stage imports ---------------------------------------------------------------------


def imports(file):
    """Full names of everything that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def closure(stage):
    """The stage's script and every k49 module that it imports, directly or not."""
    found, left = set(), {Path("stages", f"{stage}.py")}
    while left:
        file = left.pop()
        found.add(file)
        modules = {Path(*name.split(".")).with_suffix(".py") for name in imports(ROOT / file)}
        left |= {m for m in modules if m.parts[0] == "k49" and (ROOT / m).is_file()} - found
    return {str(file) for file in found}


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_what_the_stage_imports(stage):
    listed = {dep for dep in DAG["stages"][stage]["deps"] if dep.endswith(".py")}
    assert listed - {"k49/__init__.py"} == closure(stage)


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in WITHOUT_KERAS])
def test_stages_with_keras_depend_on_the_package_that_chooses_its_backend(stage):
    assert "k49/__init__.py" in DAG["stages"][stage]["deps"]


def test_deps_are_listed_once_and_exist_or_are_outputs():
    for stage in STAGES:
        deps = DAG["stages"][stage]["deps"]
        assert len(deps) == len(set(deps)), stage
        missing = [dep for dep in deps if not (ROOT / dep).is_file() and dep not in OUTPUTS]
        assert not missing, stage


@pytest.mark.parametrize("stage", WITHOUT_KERAS)
def test_stage_needs_no_keras(stage):
    heavy = {"keras", "tensorflow", "keras_tuner"}
    assert not {name.split(".")[0] for file in closure(stage) for name in imports(ROOT / file)} & (
        heavy
    )
    code = f"import sys, stages.{stage}; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    modules = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert not heavy & set(modules.split())


# --- one run of everything -----------------------------------------------------------------------


@pytest.mark.slow
def test_first_run_runs_every_stage_once(reproduced):
    log = reproduced.path.with_name("repro.log").read_text("utf-8")
    assert stages_run(log) == STAGES
    assert "Traceback" not in log
    assert "Warning" not in log


@pytest.mark.slow
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


@pytest.mark.slow
def test_no_scraps_are_left(reproduced):
    left = [name for name in reproduced.contents() if Path(name).name.startswith(".")]
    assert not left
    assert not list((reproduced.path / "data/search").glob("*"))
    assert not reproduced.git("status", "--porcelain").stdout


@pytest.mark.slow
def test_model_takes_raw_images_and_returns_probabilities(reproduced):
    import keras

    network = keras.saving.load_model(reproduced.path / "models/mlp.keras", compile=False)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
    probabilities = network.predict(images, verbose=0)
    assert probabilities.shape == (5, NUM_CLASSES)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert np.ptp(probabilities, axis=0).max() > 0  # different images, different answers


@pytest.mark.slow
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


@pytest.mark.slow
def test_predictions_are_those_of_the_saved_model(reproduced):
    import keras

    network = keras.saving.load_model(reproduced.path / "models/mlp.keras", compile=False)
    images = np.load(reproduced.path / "data/raw/k49-test-imgs.npz")["arr_0"][..., np.newaxis]
    with np.load(reproduced.path / "predictions/test.npz", allow_pickle=False) as predictions:
        np.testing.assert_allclose(
            network.predict(images, verbose=0), predictions["probabilities"], atol=1e-5
        )


@pytest.mark.slow
def test_every_metrics_file_says_that_it_is_the_standin(reproduced):
    files = [path for path in OUTPUTS if path.startswith("metrics/")]
    assert len(files) >= 4
    for path in files:
        assert reproduced.read(path)["dataset"].startswith("stand-in"), path


@pytest.mark.slow
def test_saved_archive_holds_no_time_stamps(reproduced):
    with zipfile.ZipFile(reproduced.path / "models/mlp.keras") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


# --- what reruns ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_second_run_runs_nothing(fresh):
    output = fresh.dvc("repro").stdout
    assert not stages_run(output)
    assert output.count("didn't change") == len(STAGES)
    assert "up to date" in output
    assert not fresh.git("status", "--porcelain").stdout


@pytest.mark.slow
def test_forced_run_gives_the_same_bytes(reproduced, fresh):
    output = fresh.dvc("repro", "--force").stdout
    assert stages_run(output) == STAGES
    before, after = reproduced.contents(), fresh.contents()
    assert sorted(before) == sorted(after)
    assert not [name for name in before if before[name] != after[name]]


# --- experiments ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def experiment(reproduced, tmp_path_factory):
    """A repository after `dvc exp run` with another learning rate, and what that printed."""
    repo = reproduced.copy_to(tmp_path_factory.mktemp("experiment"))
    return repo, repo.dvc("exp", "run", "-S", "train.learning_rate=1e-5").stdout


@pytest.mark.slow
def test_experiment_takes_a_number_in_scientific_notation(experiment, reproduced):
    repo, output = experiment
    assert stages_run(output) == ["train", "evaluate", "plot"]
    assert load_settings(repo.path / "params.yaml").train.learning_rate == 1e-5
    loss = [each.read("metrics/train.json")["train"]["loss"] for each in (repo, reproduced)]
    assert loss[0] > loss[1], "so small a rate learns less"


@pytest.mark.slow
def test_experiment_changes_one_line_of_params(experiment):
    repo, _ = experiment
    diff = repo.git("diff", "--unified=0", "params.yaml").stdout.splitlines()
    removed = [line for line in diff if re.match(r"-(?!--)", line)]
    added = [line for line in diff if re.match(r"\+(?!\+\+)", line)]
    assert (len(removed), len(added)) == (1, 1), "\n".join(diff)
    assert added[0].startswith("+  learning_rate: ")


@pytest.mark.slow
def test_metrics_diff_shows_accuracy_and_gap(experiment):
    repo, _ = experiment
    diff = repo.dvc_json("metrics", "diff")
    assert {"old", "new", "diff"} <= set(diff["metrics/test.json"]["accuracy"])
    assert {"old", "new", "diff"} <= set(diff["metrics/train.json"]["overfitting_gap"])
    shown = repo.dvc("metrics", "diff").stdout
    assert re.search(r"metrics/test\.json\s+accuracy\s", shown)
    assert re.search(r"metrics/train\.json\s+overfitting_gap\s", shown)


@pytest.mark.slow
def test_params_diff_shows_the_changed_parameter_alone(experiment):
    repo, _ = experiment
    diff = repo.dvc_json("params", "diff")
    assert {path: list(changed) for path, changed in diff.items()} == {
        "params.yaml": ["train.learning_rate"]
    }
    assert "train.learning_rate" in repo.dvc("params", "diff").stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["show", "diff"])
def test_plots_page_holds_confusion_and_loss(experiment, tmp_path, command):
    repo, _ = experiment
    repo.dvc("plots", command, "--out", tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    page = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), page)
    row = repo.read("plots/confusion.json")[0]
    for key in ("true", "predicted"):
        assert re.search(rf'"{key}":\s*"{row[key]}"', page), f"no confusion data: {key}"
    losses = repo.read("plots/live/plots/metrics/val_loss.tsv").split()[3::2]
    assert losses
    assert all(loss in page for loss in losses), "no loss data"
    assert "Template" not in page
    for path in OUTPUTS:
        if path.endswith(".png"):
            assert Path(path).stem in page


@pytest.fixture(scope="module")
def elsewhere(reproduced, tmp_path_factory):
    """A repository after `dvc exp run --temp`, the changed k49 uncommitted, and what it printed."""
    repo = reproduced.copy_to(tmp_path_factory.mktemp("temp"))
    figures = repo.path / "k49/figures.py"
    figures.write_text(figures.read_text("utf-8") + "\nprint('figures from', __file__)\n", "utf-8")
    return repo, repo.dvc("exp", "run", "--temp", "-S", "train.epochs=1").stdout


@pytest.mark.slow
def test_epochs_rerun_train_and_what_follows(elsewhere):
    _, output = elsewhere
    assert stages_run(output) == ["train", "evaluate", "plot"]
    for stage in ("fetch", "split", "tune"):
        assert f"Stage '{stage}' didn't change, skipping" in output


@pytest.mark.slow
def test_temp_experiment_runs_its_own_copy_of_k49(elsewhere):
    repo, output = elsewhere
    origin = re.search(r"figures from (.+)", output)[1]
    assert Path(origin).is_relative_to(repo.path / ".dvc/tmp/exps"), origin
    assert repo.read("metrics/train.json")["epochs"] == 2, "the workspace stays as it was"
    ref = repo.git("for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    ref = [name for name in ref if name.startswith("refs/exps/") and name.count("/") == 4]
    assert len(ref) == 1
    assert json.loads(repo.git("show", f"{ref[0]}:metrics/train.json").stdout)["epochs"] == 1


@pytest.mark.slow
def test_mirror_with_three_classes(fresh, tmp_path):
    raw, mirror, kept = fresh.path / "data/raw", tmp_path / "mirror", [4, 17, 48]
    mirror.mkdir()
    for part in ("train", "test"):
        images, labels = (
            np.load(raw / f"k49-{part}-{what}.npz")["arr_0"] for what in ("imgs", "labels")
        )
        chosen = np.isin(labels, kept)
        np.savez_compressed(mirror / f"k49-{part}-imgs.npz", images[chosen])
        np.savez_compressed(mirror / f"k49-{part}-labels.npz", labels[chosen])
    shutil.copy(raw / "k49_classmap.csv", mirror)
    sums = [
        f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.name}\n" for file in mirror.iterdir()
    ]
    (mirror / "md5sums").write_text("".join(sums))

    output = fresh.dvc("exp", "run", "-S", f"data.source={mirror}").stdout
    assert stages_run(output) == STAGES
    assert "Warning" not in output
    characters = [CHARACTERS[label] for label in kept]
    data, test = fresh.read("metrics/data.json"), fresh.read("metrics/test.json")
    assert data["classes"] == 3
    for part, number in data["images_of_class"].items():
        assert np.flatnonzero(number).tolist() == kept, part
    for path in OUTPUTS:
        if path.startswith("metrics/"):
            assert fresh.read(path)["dataset"] == f"mirror {mirror}"
    rows = fresh.read("plots/per_class.json")
    assert [row["character"] for row in rows] == characters
    assert test["balanced_accuracy"] == pytest.approx(
        np.mean([row["recall"] for row in rows]), abs=1e-3
    )
    assert {row["true"] for row in fresh.read("plots/confusion.json")} == set(characters)
    with Image.open(fresh.path / "plots/confusion.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


# --- bad settings --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (r"(?ms)(^train:.*?^  epochs:)\s*\d+", r"\1 0", "train.epochs: .*1.*is 0"),
        (r"(?m)^train:(.*)$", r"train:\1\n  epoch: 3", "train.epoch: unknown key, known here: .*"),
    ],
)
def test_bad_setting_fails_with_one_line(fresh, old, new, says):
    params = fresh.path / "params.yaml"
    good, before = params.read_text("utf-8"), fresh.contents()
    bad, number = re.subn(old, new, good, count=1)
    assert number == 1
    params.write_text(bad, "utf-8")

    failed = fresh.dvc("repro", check=False)
    assert failed.returncode != 0
    assert "Traceback" not in failed.stdout
    said = failed.stdout.split("> python -m stages.train\n")[1].splitlines()
    said = [line for line in said if line]
    assert re.fullmatch(f"error in train: params.yaml: {says}", said[0])
    assert said[1].startswith("ERROR: failed to reproduce 'train'"), "\n".join(said)
    after = fresh.contents()
    # DVC itself takes a stage's own outputs away before it runs the stage
    own = [p for p in before if any(p == o or p.startswith(f"{o}/") for o in outputs("train"))]
    assert {name for name in before if after.get(name) != before[name]} <= set(own)

    params.write_text(good, "utf-8")
    fresh.dvc("repro")
    assert fresh.contents() == before, "with the good setting all is as it was"


# --- the search: stage tune, in a folder with tiny arrays -----------------------------------------

TRIALS = 4
WINNER, ROWS = "models/hyperparameters.yaml", "plots/trials.json"


@dataclass(frozen=True)
class Search:
    """A folder that has what stage tune reads."""

    folder: Path

    def run(self):
        """Run the stage in this process; returns the winner and the rows of the trials."""
        import stages.tune

        with chdir(self.folder):
            stages.tune.main(load_settings())
        return read_yaml(self.folder / WINNER), json.loads(self.text(ROWS))

    def start(self):
        """Run the stage in a process of its own."""
        command = [sys.executable, "-m", "stages.tune"]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=subprocess.PIPE, text=True
        )

    def text(self, name):
        return (self.folder / name).read_text("utf-8")

    def published(self):
        return [path for path in outputs("tune") if (self.folder / path).exists()]

    def scratch(self):
        return list((self.folder / "data/search").glob("*"))


def prepare(folder, seed=0, trials=TRIALS, epochs=2, labels=np.uint8):
    """A `Search`: images of a bar whose place is the class, 392 to train on, 98 to validate."""
    params = read_yaml(ROOT / "params.yaml")
    params["seed"] = seed
    params["tune"].update(trials=trials, epochs=epochs)
    space = params["spaces"][params["tune"]["space"]]
    space["layers"].update(min=1, max=3, step=1)
    space["units"].update(min=8, max=64, step=8)
    for name in ("data/split", "metrics"):
        (folder / name).mkdir(parents=True)
    write_yaml(folder / "params.yaml", params)
    write_json(folder / "metrics/data.json", {"dataset": "bars"})

    number = np.tile(np.arange(NUM_CLASSES), 10)
    images = np.random.default_rng(0).integers(0, 60, (len(number), 28, 28, 1), np.uint8)
    for image, place in zip(images.reshape(-1, 784), number, strict=True):
        image[place * 16 : place * 16 + 16] = 255
    one_hot = np.eye(NUM_CLASSES, dtype=np.uint8)[number]
    for part, where in {"val": slice(98), "train": slice(98, None)}.items():
        np.save(folder / f"data/split/{part}_images.npy", images[where])
        chosen = labels(one_hot[where]) if part == "train" else one_hot[where]
        np.save(folder / f"data/split/{part}_labels.npy", chosen)
    return Search(folder)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A search that nothing disturbed, its winner and its rows."""
    search = prepare(tmp_path_factory.mktemp("search"))
    return search, *search.run()


@pytest.mark.slow
def test_winner_is_one_of_the_trials_and_has_no_phantom_layers(uninterrupted):
    search, winner, rows = uninterrupted
    assert not search.scratch()
    assert [row["trial"] for row in rows] == list(range(1, TRIALS + 1))
    assert {row["status"] for row in rows} == {"completed"}
    best = max(rows, key=lambda row: row["val_accuracy"])
    assert winner == {key: best[key] for key in winner}
    for row in rows:
        assert row["layers"] == len(row["units"])
        assert 1 <= row["layers"] <= 3
        assert all(8 <= units <= 64 and units % 8 == 0 for units in row["units"])
    assert len({json.dumps(row["units"]) for row in rows}) > 1
    assert len({row["learning_rate"] for row in rows}) == TRIALS


@pytest.mark.slow
def test_killed_search_goes_on_and_ends_as_an_uninterrupted_one(uninterrupted, tmp_path):
    search = prepare(tmp_path / "killed")
    with search.start() as killed:
        for line in killed.stdout:
            if line.startswith(f"trial 3/{TRIALS}"):
                killed.send_signal(signal.SIGKILL)
                break
    assert killed.returncode == -signal.SIGKILL
    assert not search.published()
    assert len(search.scratch()) == 1

    with search.start() as again:
        output = again.stdout.read()
    assert again.returncode == 0
    assert re.findall(r"^trial (\d)/", output, re.MULTILINE) == ["3", "4"], "goes on where it was"
    assert not search.scratch()
    for name in outputs("tune"):
        assert search.text(name) == uninterrupted[0].text(name)


def lost(labels):
    """Labels that make every loss NaN, as in a network that diverges."""
    return np.full(labels.shape, np.nan, np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [2, 1])
def test_search_without_a_good_trial_publishes_nothing(tmp_path, epochs):
    search = prepare(tmp_path / "lost", trials=2, epochs=epochs, labels=lost)
    with pytest.raises(K49Error, match="none of 2 trials was completed") as error:
        search.run()
    assert "\n" not in str(error.value)
    assert "diverged" in str(error.value)
    assert not search.published()
    assert not search.scratch()


@pytest.mark.slow
def test_search_without_a_good_trial_stops_the_pipeline(fresh):
    with (fresh.path / "k49/search.py").open("a", encoding="utf-8") as file:
        file.write("\n\ndef fit(*args, **kwargs):\n")
        file.write("    raise keras_tuner.errors.FailedTrialError('made to fail')\n")
    failed = fresh.dvc("repro", check=False)
    assert failed.returncode != 0
    lines = [line for line in failed.stdout.splitlines() if line.startswith("error in tune:")]
    assert len(lines) == 1
    assert "made to fail" in lines[0]
    assert stages_run(failed.stdout) == ["tune"]
    assert not any((fresh.path / path).exists() for path in outputs("tune"))


def fake_fit(monkeypatch, history):
    """Replace training; `history(trial, epochs)` is what each trial's figures are said to be."""
    import k49.search

    trials = itertools.count(1)
    monkeypatch.setattr(
        k49.search, "fit", lambda *args, epochs, **kwargs: history(next(trials), epochs)
    )


def figures_of(accuracy, epochs):
    loss = {"loss": [1.0] * epochs, "val_loss": [1.0] * epochs}
    return {**loss, "accuracy": [accuracy] * epochs, "val_accuracy": [accuracy] * epochs}


def ended_early(epochs):
    return figures_of(0.9, epochs - 1)


def ended_in_the_last_epoch(epochs):
    """What Keras's TerminateOnNaN leaves when the loss becomes NaN in the last epoch."""
    history = figures_of(0.9, epochs)
    history["loss"][-1] = history["val_loss"][-1] = float("nan")
    history["val_accuracy"][-1] = 1 / NUM_CLASSES
    return history


@pytest.mark.slow
@pytest.mark.parametrize("diverged", [ended_early, ended_in_the_last_epoch])
def test_diverged_trial_is_recorded_and_never_wins(monkeypatch, tmp_path, diverged):
    fake_fit(
        monkeypatch,
        lambda trial, epochs: diverged(epochs) if trial == 2 else figures_of(trial / 10, epochs),
    )
    winner, rows = prepare(tmp_path / "search", trials=3).run()
    assert [row["status"] for row in rows] == ["completed", "failed", "completed"]
    assert rows[1]["val_accuracy"] is None
    assert "diverged" in rows[1]["error"]
    assert winner["learning_rate"] == rows[2]["learning_rate"]


@pytest.mark.slow
def test_trial_that_gets_nothing_right_is_not_called_failed(monkeypatch, tmp_path, capsys):
    fake_fit(monkeypatch, lambda trial, epochs: figures_of(0.0, epochs))
    _, rows = prepare(tmp_path / "search", trials=2).run()
    assert [row["status"] for row in rows] == ["completed"] * 2
    assert [row["val_accuracy"] for row in rows] == [0, 0]
    assert "failed" not in capsys.readouterr().out


@pytest.mark.slow
def test_seed_zero_is_a_seed(monkeypatch, tmp_path):
    fake_fit(monkeypatch, lambda trial, epochs: figures_of(0.5, epochs))
    zero, again, one = (
        prepare(tmp_path / str(i), seed=seed).run() for i, seed in enumerate([0, 0, 1])
    )
    assert zero == again
    assert zero[0] != one[0]
    rates = [{row["learning_rate"] for row in rows} for _, rows in (zero, one)]
    assert not rates[0] & rates[1]
