"""What is said of a search's trials: known answers, and silence where there are too few."""

import numpy as np
import pytest
from scipy import stats

from k49.plots import trials as trial_plots
from k49.plots.trials import SEARCHED, importance, trials

KINDS = ["relu", "tanh", "sigmoid"]


def rows(n, score, **changes):
    """`n` trials with hyperparameters by chance, and the val_accuracy that `score` gives a row."""
    random = np.random.default_rng(n)
    found = []
    for number in range(1, n + 1):
        row = {
            "trial": number,
            "status": "completed",
            "epochs": 5,
            "max_epochs": 5,
            "layers": int(random.integers(1, 6)),
            "units": [int(each) for each in random.integers(1, 17, 2) * 32],
            "activation": str(random.choice(KINDS)),
            "initializer": "he_uniform",
            "learning_rate": float(10 ** random.uniform(-4, -2)),
            "weight_decay": None,
        }
        found.append({**row, "val_accuracy": score(row), **changes})
    return found


def by_name(rows):
    return {row["hyperparameter"]: row for row in importance(rows)}


@pytest.fixture(autouse=True)
def fewer_permutations(monkeypatch):
    """As many as levels of 0.05 need, by far."""
    monkeypatch.setattr(trial_plots, "PERMUTATIONS", 499)


def test_numbers_have_spearmans_correlation():
    found = rows(20, lambda row: 1 - row["learning_rate"] * 10)
    rate, scores = ([row[key] for row in found] for key in ("learning_rate", "val_accuracy"))
    told = by_name(found)
    assert list(told) == list(SEARCHED)
    assert told["learning_rate"]["rank_correlation"] == -1
    assert told["learning_rate"]["matters"]
    layers = stats.spearmanr([row["layers"] for row in found], scores)
    assert told["layers"]["rank_correlation"] == pytest.approx(layers.statistic, abs=1e-4)
    assert told["layers"]["p_value"] == pytest.approx(layers.pvalue, abs=0.03)
    assert stats.spearmanr(rate, scores).statistic == pytest.approx(-1)


def test_categories_have_the_root_of_kruskals_h():
    found = rows(30, lambda row: KINDS.index(row["activation"]) / 4 + row["learning_rate"])
    scores = [[row["val_accuracy"] for row in found if row["activation"] == kind] for kind in KINDS]
    told = by_name(found)["activation"]
    h = stats.kruskal(*scores).statistic
    assert told["rank_correlation"] == pytest.approx((h / 29) ** 0.5, abs=1e-4)
    assert told["matters"]


def test_what_never_varied_matters_not():
    told = by_name(rows(20, lambda row: row["learning_rate"]))
    for name in ("initializer", "weight_decay"):
        assert told[name]["rank_correlation"] == 0
        assert told[name]["p_value"] == 1


def test_few_trials_show_nothing():
    told = importance(rows(4, lambda row: row["learning_rate"]))
    assert not any(row["matters"] for row in told)
    assert not any(row["matters"] for row in importance(rows(1, lambda row: 0.5)))


def test_chance_is_seldom_said_to_matter():
    """At most in one search of twenty, if the scores have nothing to do with what was tried."""
    random = np.random.default_rng(5)
    said = [
        any(row["matters"] for row in importance(rows(5, lambda row: float(random.random()))))
        for _ in range(60)
    ]
    assert sum(said) <= 6


def test_failed_trial_ranks_below_all():
    found = rows(12, lambda row: None if row["learning_rate"] > 2e-3 else 0.9)
    assert by_name(found)["learning_rate"]["rank_correlation"] < -0.5


def test_trials_of_other_lengths_are_not_compared():
    short = rows(9, lambda row: row["learning_rate"])
    long = rows(4, lambda row: 0.9, max_epochs=20)
    assert {row["trials"] for row in importance(short + long)} == {9}


def test_lines_go_from_the_lowest_to_the_highest():
    found = rows(5, lambda row: row["learning_rate"])
    axes, _ = trials(found, "made up").axes
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown == ["layers", "mean units", "activation", "learning_rate", "val_accuracy"]
    best = max(range(5), key=lambda i: found[i]["val_accuracy"])
    order = sorted(range(5), key=lambda i: i == best)  # the best is drawn last
    lines = np.array([line.get_ydata() for line in axes.lines[:5]])
    assert (lines.min(0).tolist(), lines.max(0).tolist()) == ([0] * 5, [1] * 5)
    rates = np.log([found[i]["learning_rate"] for i in order])
    assert lines[:, 3] == pytest.approx((rates - rates.min()) / np.ptp(rates))


@pytest.mark.parametrize("n", [1, 2, 30])
def test_picture_of_any_number_of_trials(n):
    found = rows(n, lambda row: row["learning_rate"])
    found[-1] |= {"status": "failed", "val_accuracy": None} if n == 30 else {}
    figure = trials(found, "made up")
    assert "made up" in figure.get_suptitle()
    ways, mattered = figure.axes
    assert len(ways.lines) >= n - (n == 30)
    assert len(mattered.patches) == 6


def test_picture_without_a_search():
    found = rows(1, lambda row: 0)
    found[0] |= {"status": "untrained", "val_accuracy": None}
    figure = trials(found, "made up")
    assert not figure.axes
    assert figure.get_suptitle() == "No search, since tune.trials is 1: made up"
