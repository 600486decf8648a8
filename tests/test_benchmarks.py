"""The benchmarks run: they are few and slow, so that nobody would notice that they don't."""

import json
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

from benchmarks import epoch
from benchmarks.ways import WAYS
from tests.helpers import ROOT, bars

# Those whose packages are in the project's own environment.
HERE = ["ours", "ours-distorted", "notebook", "keras", "sklearn"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    (folder / "data/split").mkdir(parents=True)
    dataset = bars(10, seed=0)
    np.save(folder / "data/split/train_images.npy", dataset.images)
    np.save(folder / "data/split/train_labels.npy", dataset.labels)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("way", HERE)
def test_way_trains_and_says_how_long(folder, way):
    command = [sys.executable, ROOT / "benchmarks/ways.py", way, "report", folder, "2"]
    done = subprocess.run(
        [str(word) for word in command],
        env=epoch.environment(ROOT),
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
    text = epoch.table([*rows("ours", "before", "notebook")], "a machine")
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert lines[WAYS["notebook"][0]].split(" | ")[1:4] == ["601.06", "301.03 to 901.08", "0.33"]
    assert "a machine" in text
    assert "not K49" in text


def test_machine_is_told_without_the_rivals_packages():
    """Was: an error behind the last measurement where one of them is not installed."""
    found = epoch.machine()
    assert f"keras {version('keras')}" in found
    assert "GFLOP/s" in found
