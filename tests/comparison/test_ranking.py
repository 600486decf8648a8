"""Rankings whose answer is known: by simulation, by hand, and by `k49 compare`."""

import csv
import io
import json

import numpy as np
import pytest
from scipy import stats

from k49.comparison import ranking_text as text
from k49.comparison.differences import t_interval
from k49.comparison.ranking import Entry, rank
from k49.plots import report as figures


def entry(right, name="a", **changes):
    """A run that reads those validation images correctly where `right` (N,) says so."""
    fields = {"code": "c", "val_images": "v", "test_images": "t", "tests": 1000, "dataset": "made"}
    fields |= {key: changes.pop(key) for key in list(changes) if key in fields}
    params = {key.replace("__", "."): value for key, value in changes.items()}
    shares = dict.fromkeys(("test_accuracy", "test_balanced_accuracy"), 0.9)
    metrics = {"val_accuracy": float(right.mean()), "epochs": 5, **shares}
    return Entry(name=name, params=params, right=right, metrics=metrics, **fields)


def simulated(rng, groups, seeds, images, better=0.0, spread=0.002):
    """Runs of settings of 95 % on images of unlike difficulty; the last setting is better.

    `spread` is the standard deviation of accuracy over training seeds, besides chance on images.
    """
    hard = rng.beta(1, 19, images)
    runs = []
    for group in range(groups):
        for seed in range(seeds):
            factor = 1 + rng.normal(0, spread / 0.05) - (group == groups - 1) * better / 0.05
            right = rng.random(images) >= np.clip(hard * factor, 0, 1)
            runs.append(entry(right, f"{group}-{seed}", setting=group, train__seed=seed))
    return runs


def any_called_better(ranking):
    return any(
        one is not None and one.significant
        for group in ranking.groups
        for one in (group.to_base, group.to_best)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.002)])
def test_of_twenty_equal_settings_none_is_better(seeds, spread):
    """In 5 % of rankings one is, by whatever pair; not in 5 % for each of the 190 pairs."""
    rng, draws = np.random.default_rng(1), 400
    called = sum(
        any_called_better(rank(simulated(rng, 20, seeds, 2000, spread=spread)))
        for _ in range(draws)
    )
    assert stats.binomtest(called, draws, 0.05, "greater").pvalue > 0.01
    assert called > 5, "a ranking that never finds anything would pass, too"


def test_one_point_more_among_nineteen_equal_ones_is_found():
    """With three seeds, on as many images as K49's validation has."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        ranking = rank(simulated(rng, 20, 3, 38_547, better=0.01, spread=0.001))
        assert ranking.best.names == ["19-0", "19-1", "19-2"]
        assert [group.among_the_best for group in ranking.groups] == [True] + 19 * [False]
        assert ranking.best.to_base.low > 0
        assert ranking.best.to_base.difference == pytest.approx(0.01, abs=0.003)
        assert "better than the base, 0-0 and 2 more: +" in text.sentences(ranking)[1]


def test_two_settings_are_compared_as_compare_does():
    """Whose interval is Student's t with the seeds' pooled spread; images weigh nothing."""
    rights = np.ones((6, 10_000), bool)
    for row, wrong in enumerate((300, 310, 330, 200, 212, 230)):
        rights[row, rng_of(row).permutation(10_000)[:wrong]] = False
    runs = [
        entry(right, str(i), setting=i // 3, train__seed=i % 3) for i, right in enumerate(rights)
    ]
    found = next(group.to_base for group in rank(runs).groups if group.to_base)
    of_a, of_b = np.split(rights.mean(1), 2)
    pooled = (of_a.var(ddof=1) + of_b.var(ddof=1)) / 2
    error = np.sqrt(pooled * 2 / 3)
    reach = stats.t.ppf(0.975, 4) * error
    assert found.difference == pytest.approx(of_b.mean() - of_a.mean())
    low, high, _ = t_interval(of_a, of_b, 0.0)
    assert found.high - found.difference == pytest.approx(reach, rel=0.05)
    assert found.low == pytest.approx(low, abs=0.0005)
    assert found.high == pytest.approx(high, abs=0.0005)


def rng_of(seed):
    return np.random.default_rng(seed)


def test_a_setting_that_spreads_far_more_has_its_own_interval():
    """Was the danger: one learning rate that diverges half the time hides all other differences."""
    rng = np.random.default_rng(0)
    runs = simulated(rng, 6, 3, 20_000, better=0.02, spread=0.001)
    wild = [
        entry(rng.random(20_000) < share, f"wild-{seed}", setting=99, train__seed=seed)
        for seed, share in enumerate((0.9, 0.5, 0.2))
    ]
    ranking = rank([*runs, *wild])
    assert ranking.best.names[0] == "5-0"
    assert [group.among_the_best for group in ranking.groups[:-1]] == [True] + 5 * [False]
    own, usual = (ranking.groups[i].to_best for i in (-1, -2))
    assert own.high - own.low > 10 * (usual.high - usual.low)
    assert any(note.startswith("wild-0 and its other seeds spread more") for note in ranking.notes)


def test_runs_that_can_not_be_ranked_are_named():
    right = np.arange(100) > 5
    base = entry(right, "base", train__seed=1, fit__dropout=0.1)
    others = {
        "other test images": {"test_images": "x"},
        "other validation images": {"val_images": "x"},
        "trained by other code": {"code": "x"},
        "the settings and the seed of another one": {"train__seed": 1, "fit__dropout": 0.1},
    }
    runs = [entry(right, str(i), **change) for i, change in enumerate(others.values())]
    ranking = rank([base, *runs], {"old": "no train.json"})
    assert ranking.left_out == {"old": "no train.json", **dict(zip("0123", others, strict=True))}
    assert [group.names for group in ranking.groups] == [["base"]]
    assert "left out, trained by other code: 2" in text.remarks(ranking)
    assert text.sentences(ranking)[0].startswith(
        "a single setting, base: 94.00 % of 100 validation"
    )


def test_parameters_that_matter():
    rng, runs = np.random.default_rng(0), []
    for i in range(40):
        rate, decay = rng.uniform(1e-3, 5e-3), float(rng.choice([0.1, 0.2]))
        right = rng.random(5000) < 0.97 - 40 * abs(rate - 0.003)
        runs.append(entry(right, str(i), train__learning_rate=rate, fit__weight_decay=decay))
    known = rank(runs).importance
    assert list(known.shares) == ["train.learning_rate", "fit.weight_decay"]
    assert known.shares["train.learning_rate"] > 0.9
    assert "train.learning_rate 9" in "".join(text.remarks(rank(runs)))
    noise = [
        entry(rng.random(500) < 0.9, str(i), a=rng.random(), b=rng.random()) for i in range(16)
    ]
    grid = [
        entry(np.arange(100) >= 10 * (i % 3) + i // 3, str(i), a=i % 3, b=i // 3) for i in range(6)
    ]
    known = rank([entry(np.arange(100) > 3, "base", a=9, b=9), *grid]).importance
    assert known.grid
    assert known.shares == pytest.approx(
        {"a": 200 / 3 / (200 / 3 + 0.25), "b": 0.25 / (200 / 3 + 0.25)}
    )
    assert known.explained == pytest.approx(1)
    assert "which parameters matter can't be said from 16 settings" in text.remarks(rank(noise))


def test_tables_hold_what_is_known():
    runs = simulated(np.random.default_rng(0), 40, 1, 500)
    runs[3].params["setting"] = "[link](x) | \x1b[31m"
    ranking = rank(runs)
    shown = text.table(ranking)
    assert len(shown.rows) in (30, 31)  # the base may be below the others
    assert shown.header[:4] == ["setting", "runs", "validation", "points to base (95 %)"]
    assert "ECE" not in shown.header, "not known"
    rows = list(csv.DictReader(io.StringIO(text.as_csv(ranking))))
    assert len(rows) == 40
    best = ranking.best.means["val_accuracy"]
    assert float(rows[0]["val_accuracy"]) == best == max(run.right.mean() for run in runs)
    content = json.loads(text.as_json(ranking))
    assert content["groups"][0]["among_the_best"]
    assert len(content["groups"]) == 40
    assert "\x1b" not in text.as_csv(ranking) + text.markdown(ranking)
    assert figures.ranking(ranking).axes[0].get_xlabel() == "validation accuracy, percent"
