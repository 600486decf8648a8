"""The benchmarks run: they are few and slow, so that nobody would notice that they don't."""

import json
import re
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
from dvc.utils.hydra import apply_overrides

from benchmarks import ablation, accuracy, breakdown, calibration, epoch
from benchmarks import search as searches
from benchmarks.ways import BATCH, DECAY, RATE, UNITS, WAYS, search_of, settings_of
from k49.io import read_json, write_json
from k49.search.tuner import middle
from k49.stage import load_settings
from tests.helpers import PARAMS, ROOT, bars, environment
from tests.search import small

# Those whose packages are in the project's own environment.
HERE = ["ours", "notebook", "sklearn"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return small.prepare(folder, bars(10, seed=0), bars(2, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("way", HERE)
def test_way_trains_and_says_how_long(folder, way):
    done = subprocess.run(
        ["python", "-m", "benchmarks.ways", way, "report", str(folder), "2"],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["seconds"]) == 2
    assert min(found["seconds"]) > 0
    assert 100 < found["peak_mib"] < 2000


def rows(*ways):
    return [
        {
            **{"recipe": recipe, "way": way, "round": number, "images": 1938},
            **{"seconds": [9.0, seconds, seconds + 0.02], "peak_mib": 500},
        }
        for recipe, names in epoch.RUNS.items()
        for number in (1, 2, 3)
        for way, seconds in zip(names, np.arange(1, len(names) + 1) * number, strict=True)
        if way in ways
    ]


def test_table_has_medians_and_ratios():
    text = epoch.table([*rows("ours", "notebook", "keras")], "a machine")
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert lines[WAYS["notebook"][0]].split(" | ")[1:4] == ["401.04", "201.02 to 601.06", "0.50"]
    assert "| report | 0.50 | nan | nan |" in text, "the better of Keras' two ways"
    assert "a machine" in text
    assert "not K49" in text


def test_way_that_failed_is_told_in_its_recipe_alone():
    failed = {"recipe": "cnn", "way": "keras", "round": 1, "images": 1938, "failed": "no memory"}
    text = epoch.table([*rows("ours"), failed], "a machine")
    before, _, after = text.partition("## cnn")
    assert f"| {WAYS['keras'][0]} | failed: no memory |" in after
    assert "failed" not in before


def test_readme_and_docs_have_what_was_measured():
    rows = read_json(ROOT / "benchmarks/epoch.json")
    readme = (ROOT / "README.md").read_text("utf-8")
    performance = (ROOT / "docs/performance.md").read_text("utf-8")
    for line in epoch.ratios(rows):
        assert line in readme
        assert line in performance
    for line in accuracy.lines(read_json(ROOT / "benchmarks/accuracy.json")):
        assert line in readme
    for line in breakdown.shares(read_json(ROOT / "benchmarks/breakdown.json")):
        assert line in performance


def test_time_to_accuracy_is_that_of_the_first_epoch_that_reaches_it():
    points = [[60.0, 0.96], [120.0, 0.975], [180.0, 0.974]]
    rows = [{"way": "cnn", "images": 1938, "where": "a machine", "points": points}]
    text = accuracy.table(rows)
    assert "| cnn | 1.0 | 2.0 | - | - | - | 97.4 % | 3.0 |" in text
    assert "PyTorch" not in text
    assert "not K49" in text
    slower = [[1.5 * seconds, accuracy] for seconds, accuracy in points]
    both = accuracy.table([*rows, {**rows[0], "way": "torch", "points": slower}])
    assert "| PyTorch / cnn | 1.50 | 1.50 | - | - | - | | 1.50 |" in both


def test_ways_measured_before_stay_if_the_machine_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "HERE", tmp_path)
    assert accuracy.measured_before(1938, "a machine") == []
    here = "2 cores of a processor (AVX-512), sgemm 465 GFLOP/s; keras 3.15.1; commit 2f392d3"
    later = here.replace("465", "380").replace("2f392d3", "613e9cf")
    row = {"way": "cnn", "images": 1938, "where": here, "points": [[60.0, 0.96]]}
    write_json(tmp_path / "accuracy.json", [row])
    assert accuracy.measured_before(1938, later) == [row]
    assert accuracy.measured_before(193_818, later) == []
    assert accuracy.measured_before(1938, later.replace("(AVX-512)", "(no AVX-512)")) == []
    assert accuracy.measured_before(1938, later.replace("3.15.1", "3.16.0")) == []
    text = accuracy.table([row, {**row, "way": "torch", "where": later}])
    assert f"- cnn: {here}\n- cnn in PyTorch: {later}\n" in text


@pytest.mark.parametrize("recipe", BATCH)
def test_other_ways_train_as_the_recipe_does(recipe):
    """Was: batches of 64 in the tables, when the recipe had 256."""
    fit = settings_of(recipe)["fit"]
    assert BATCH[recipe] == fit["batch_size"]
    assert DECAY.get(recipe, 0) == fit["weight_decay"]
    if recipe != "report":  # of which they train the network that the report found
        found = middle(search_of(recipe).space)
        assert UNITS[recipe] == found.units
        assert RATE[recipe] == pytest.approx(found.learning_rate, abs=1e-6)


def test_machine_is_told_without_the_rivals_packages():
    """Was: an error behind the last measurement where one of them is not installed."""
    found = epoch.machine()
    assert f"keras {version('keras')}" in found
    assert "GFLOP/s" in found
    same_each_run = accuracy.processor_and_packages(found)
    assert not re.search("GFLOP/s|commit", same_each_run)
    assert f"keras {version('keras')}" in same_each_run


@pytest.mark.slow
def test_search_is_the_pipelines_own(folder, monkeypatch):
    monkeypatch.chdir(folder)
    one, other = searches.ours(search_of("report", trials=2, epochs=1, workers=1))
    assert 0 <= min(one, other) <= max(one, other) <= 1
    assert not list(folder.glob("scratch/*")), "else the next round would find its trials done"


def test_search_table_compares_each_recipe_with_itself():
    seconds = {("report", "ours"): 60, ("report", "one"): 100, ("report", "plain"): 240}
    seconds |= {("default", "ours"): 70, ("default", "one"): 100}
    about = {"round": 1, "images": 48_454, "val_accuracy": [0.5, 0.75]}
    text = searches.table(
        [
            {"recipe": recipe, "way": way, "seconds": taken, **about}
            for (recipe, way), taken in seconds.items()
        ]
    )
    assert f"| report | {searches.WAYS['plain']} | 240 | 0.25 | 0.500 0.750 |" in text
    assert f"| default | {searches.WAYS['one']} | 100 | 0.70 | 0.500 0.750 |" in text
    assert "not K49" in text


def test_calibration_describes_images():
    images = np.zeros((3, 28, 28), np.uint8)
    images[:, 4:24, 10:13] = 255  # a bar, 20 pixels high and 3 wide
    images[0, -1] = 255  # and in one image a line along the lower border
    found = calibration.look((images, np.zeros(3, np.uint8)))
    assert found["grey"] == pytest.approx(255 * (60 + 28 / 3) / 784)
    assert found["border pixels above 100, %"] == pytest.approx(100 * 30 / 3 / 112)
    assert found["lower border above 100, %"] == pytest.approx(100 / 3)
    assert found["height of the ink"] == pytest.approx((20 + 20 + 24) / 3)
    assert found["middle of the width"] == pytest.approx((11 + 11 + 13.5) / 3)


def test_calibration_table_has_mean_and_each_seed():
    runs = [{"report, test": 88.0, "report, test, balanced": 85.0}, {"report, test": 89.0}]
    runs[1]["report, test, balanced"] = 86.0
    text = calibration.table(runs, [{"grey": 50.0}, {"grey": 40.0}], {"grey": 47.25})
    assert "| report, test | 88.0 | 86.0 to 90.0 | 88.5 (88.0, 89.0) |" in text
    assert "| report, test, balanced | - | - | 85.5 (85.0, 86.0) |" in text
    assert "| grey | 47.2 | 45.0 |" in text
    assert "not K49" in text


def test_ablation_ends_at_the_default_recipe(tmp_path):
    """Else its last row would not be what it says."""
    changes = next(changes for name, _, changes in ablation.ROWS if name == "default")
    found = []
    for recipe, behind in (("report", changes), ("default", [])):
        path = tmp_path / f"{recipe}.yaml"
        path.write_bytes(PARAMS.read_bytes())
        options = ablation.shell("k49", "recipe", recipe).split()
        overrides = [option.removeprefix("--set-param=") for option in options]
        apply_overrides(path, [*overrides, *behind, "evaluate.shifts=1"])
        found.append(load_settings(path))
    assert found[0] == found[1]


# The ablation, with recipes cut short behind what they set
SHORT_ABLATION = """
from benchmarks import ablation
add, short = ablation.add, ["tune.trials=1", "tune.epochs=1", "train.epochs=3"]
ablation.add = lambda name, row, *rest: add(name, (*row[:2], [*row[2], *short]), *rest)
ablation.main()
"""


@pytest.mark.slow
def test_ablation_runs_what_is_missing_and_no_more(fresh):
    seeds = ["--seeds", "1", "--first", "2"]
    command = [sys.executable, "-c", SHORT_ABLATION, *seeds, "--only", "report"]
    fresh.run(*command)
    run = fresh.dvc_json("exp", "show")[1]["experiments"][0]["revs"][0]["data"]
    accuracy = 100 * run["metrics"]["metrics/test.json"]["data"]["test_accuracy"]
    assert run["params"]["params.yaml"]["data"]["train"]["seed"] == 2
    table = fresh.read("benchmarks/ablation.md")
    assert "| report | `k49 recipe report` |" in table
    assert f"| {accuracy:.1f} ({accuracy:.1f}) |" in table
    assert "not K49" in table
    assert "(ablation.png)" in table
    assert (fresh.path / "benchmarks/ablation.png").stat().st_size > 10_000
    assert fresh.git("rev-parse", "--short", "HEAD").stdout.strip() in table
    tasks = queued_tasks(fresh)
    assert len(tasks) == 1
    fresh.run(*command)
    assert queued_tasks(fresh) == tasks
    assert fresh.read("benchmarks/ablation.md") == table


def queued_tasks(repo) -> list[str]:
    """A line for each task of DVC's queue, without its last words on workers: those come and go."""
    header, *tasks = repo.dvc("queue", "status").stdout.split("\n\nWorker")[0].splitlines()
    assert header.startswith("Task")
    return tasks


@pytest.mark.slow
def test_an_epochs_time_is_told_by_kind_of_operation(folder):
    found = epoch.last_line(["benchmarks.breakdown", "--run", "report"], folder)
    here = {"optimizer", "matrix products", "bias, activation, dropout", "loss", "the rest"}
    assert {kind for kind, spent in found.items() if spent > 0} == here, "an mlp has no more"
    assert f"| convolutions | {0:.1f} |" in breakdown.table(
        [{"run": "report", "images": 490, **found}]
    )
