"""Probabilities compared with outcomes: cases whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from k49.evaluation import predictions
from k49.evaluation import probabilities as calibration
from k49.evaluation.probabilities import AVERAGED, PLAIN, UNCALIBRATED, ModelOutput
from tests.helpers import CHARACTERS, bars


def drawn(n=60_000, sharper=1.0, seed=0):
    """Probabilities that say how often a label is drawn, then made sharper than they should be."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet(np.full(4, 0.5), n)
    labels = (rng.random((n, 1)) > honest.cumsum(1)).sum(1).clip(0, 3)
    claimed = honest**sharper
    return claimed / claimed.sum(1, keepdims=True), labels


def test_honest_probabilities_have_no_calibration_error_and_sharper_ones_have():
    honest, sharper = (calibration.summary(*drawn(sharper=by)) for by in (1.0, 2.0))
    assert honest["ece"] < 0.006
    assert sharper["ece"] > 0.1
    assert honest["nll"] < sharper["nll"]
    assert honest["brier"] < sharper["brier"]


def test_calibration_error_by_hand():
    """30 images, two a bin: half of those of 0.5 are right, and all of those of 0.9."""
    chosen = np.repeat([0.5, 0.9], [10, 20])
    right = np.array([True, False] * 5 + [True] * 20)
    assert calibration.ece(chosen, right) == pytest.approx(20 * 0.1 / 30)


def test_a_point_for_each_fifteenth_of_the_images():
    probabilities, labels = drawn(1500)
    rows = calibration.reliability(*calibration.confidence(probabilities, labels))
    assert [row["images"] for row in rows] == [100] * 15
    assert [row["confidence"] for row in rows] == sorted(row["confidence"] for row in rows)
    assert sum(row["accuracy"] for row in rows) / 15 == pytest.approx(
        np.mean(probabilities.argmax(1) == labels), abs=1e-4
    )


def test_fewer_images_read_are_read_better():
    probabilities, labels = drawn(1000)
    rows = calibration.coverage(*calibration.confidence(probabilities, labels))
    assert [row["coverage"] for row in rows] == pytest.approx(np.arange(1, 101) / 100)
    assert rows[9]["accuracy"] > rows[49]["accuracy"] > rows[-1]["accuracy"]
    assert rows[-1]["accuracy"] == pytest.approx(np.mean(probabilities.argmax(1) == labels))


def test_curves_name_their_probabilities():
    probabilities, labels = drawn(100)
    read = ModelOutput(probabilities, None, probabilities, 0.5, np.zeros(100, bool))
    assert {row["probabilities"] for row in calibration.reliabilities(read, labels)} == {
        UNCALIBRATED,
        PLAIN,
    }
    both = ModelOutput(probabilities, probabilities, probabilities, 0.5, np.zeros(100, bool))
    assert {row["probabilities"] for row in calibration.coverages(both, labels)} == {
        PLAIN,
        AVERAGED,
    }


def test_what_git_holds_gives_nearly_the_same_figures(tmp_path):
    """A byte for each score: within 4 % each, and less on the average."""
    split = bars(60, 0)
    labels = split.labels.argmax(1)
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(49, 0.05), len(split))
    probabilities[np.arange(len(split)), labels] += rng.exponential(5, len(split))
    probabilities /= probabilities.sum(1, keepdims=True)
    averaged = np.roll(probabilities, 1, axis=1)
    kept = predictions.of_split(split, probabilities, averaged, CHARACTERS)
    predictions.save(kept, tmp_path / "kept.npz")
    with (tmp_path / "kept.npz").open("rb") as file:
        found = predictions.load(file, "kept.npz")
    for name in ("doubt", "nll", "brier"):
        exact, byte = (getattr(each.scores, name) for each in (kept, found))
        assert np.abs(byte / exact - 1).max() <= 0.04
        assert byte.mean() == pytest.approx(exact.mean(), rel=0.015)
    exact, byte = (calibration.ece(1 - each.scores.doubt, each.right) for each in (kept, found))
    assert byte == pytest.approx(exact, abs=2e-3)
    assert np.array_equal(kept.predicted, found.predicted)
    assert np.array_equal(found.opinion.predicted, (found.predicted + 1) % 49)
    assert found.opinion.nll.mean() > found.scores.nll.mean()
    assert found.opinion.doubt == pytest.approx(found.scores.doubt)
    of_val = predictions.of_split(split, probabilities, averaged, CHARACTERS, with_scores=False)
    predictions.save(of_val, tmp_path / "val.npz")
    with (tmp_path / "val.npz").open("rb") as file:
        again = predictions.load(file, "val.npz")
    assert again.scores is None
    assert np.array_equal(again.opinion.nll, found.opinion.nll)
    older = replace(kept, opinion=None, scores=replace(kept.scores, brier=None))
    predictions.save(older, tmp_path / "older.npz")
    with (tmp_path / "older.npz").open("rb") as file:
        again = predictions.load(file, "older.npz")
    assert np.array_equal(again.opinion.predicted, found.predicted)
    assert np.array_equal(again.opinion.nll, found.scores.nll)
