"""A search that is killed again and again finds what one finds that nothing disturbs."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress

import numpy as np
import psutil
import pytest

from tests.helpers import start_stage
from tests.search.small import TRIALS, assert_as_alone, prepare

pytestmark = pytest.mark.slow
# How often it is killed; five were tried as well
KILLS = int(os.environ.get("K49_KILLS", "1"))


def test_winner_is_one_of_the_trials_and_has_no_phantom_layers(uninterrupted):
    result = uninterrupted
    assert [row["trial"] for row in result.rows] == list(range(1, TRIALS + 1))
    assert {row["status"] for row in result.rows} == {"completed"}
    best = max(result.rows, key=lambda row: row["val_accuracy"])
    winner = result.winner.model_dump()
    assert winner == {key: best[key] for key in winner}
    for row in result.rows:
        assert row["layers"] == len(row["units"])
        assert 1 <= row["layers"] <= 3
        assert all(8 <= units <= 64 and units % 8 == 0 for units in row["units"])
    assert len({json.dumps(row["units"]) for row in result.rows}) > 1
    assert len({row["learning_rate"] for row in result.rows}) == TRIALS
    assert result.metrics == {
        "tune_trials": TRIALS,
        "tune_completed": TRIALS,
        "tune_val_accuracy": best["val_accuracy"],
    }
    assert f"best of {TRIALS} trials: val_accuracy {best['val_accuracy']:.4f}" in str(result)


def test_search_that_is_killed_again_and_again_ends_as_an_uninterrupted_one(
    train, val, uninterrupted, tmp_path
):
    """By `kill -9` of all of it, and of a trial's process; and at last its result can't be written.

    Was: the trials were removed first; a full disk at that moment lost the whole search.
    """
    folder = prepare(tmp_path / "killed", train, val)
    (folder / "models").write_text("a file where a folder should be")
    with start_stage("tune", folder, warm=False, stderr=subprocess.STDOUT) as killed:
        os.kill(trial_below(killed.pid), signal.SIGKILL)
        for line in killed.stdout:
            if "its process was killed; it runs again" in line:
                break
        else:
            raise AssertionError("never said so")
        killed.kill()
    moments = np.random.default_rng().uniform(2, 8, KILLS)
    print("killed after", moments)  # for whoever has to see why it failed
    for moment in moments:
        with start_stage("tune", folder) as killed:
            time.sleep(moment)
            killed.kill()
    with start_stage("tune", folder, stderr=subprocess.PIPE) as failed:
        _, said = failed.communicate()
    assert failed.returncode == 1
    assert "models/hyperparameters.yaml: not written" in said
    assert "Traceback" not in said
    (folder / "models").unlink()

    with start_stage("tune", folder) as last:
        output = last.stdout.read()
    assert last.returncode == 0, output
    assert "network=" not in output.partition("best of")[0], "nothing is run again"
    assert_as_alone(folder, uninterrupted)


def trial_below(pid):
    """The process of a trial, soon after its start: a small one ends within a second.

    The stage's own child, a server, forks it, so that both have one command line. Other commands,
    which the server starts when it imports TensorFlow, look like that only for a moment.
    """
    before = set()
    for _ in range(3000):
        trials = set()
        with suppress(psutil.NoSuchProcess):  # also of one that has ended just now
            for child in psutil.Process(pid).children():
                command = child.cmdline()
                trials |= {one.pid for one in child.children() if one.cmdline() == command}
        if lasting := before & trials:
            return lasting.pop()
        before = trials
        time.sleep(0.02)
    raise AssertionError("no trial began")
