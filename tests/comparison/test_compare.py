"""Comparisons whose answer is known: by hand, by construction, and by other libraries."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from k49.comparison import text
from k49.comparison.compare import Verdict, compare, gate
from k49.comparison.differences import differ, mcnemar, t_interval
from k49.comparison.runs import Run
from k49.errors import K49Error
from k49.evaluation.predictions import Predictions, Scores, fingerprint
from k49.revisions import used
from k49.settings import Gate
from tests.helpers import CHARACTERS, bars

CLASSES = tuple(CHARACTERS)


def wrong_at(labels, wrong):
    """Predictions that are right but in the images `wrong` (bool), read as the next class."""
    return np.where(wrong, (labels + 1) % 49, labels).astype(np.uint8)


def run(test, val=None, name="a", images="test", train_accuracy=1.0, **params):
    """A run whose test and validation images are read wrongly where `test` and `val` say so."""
    labels = np.repeat(np.arange(49, dtype=np.uint8), -(-len(test) // 49))[: len(test)]
    val = np.zeros(len(test), bool) if val is None else val
    scores = Scores(*np.full((3, len(test)), 0.01))
    return Run(
        name=name,
        dataset="made up",
        train_accuracy=train_accuracy,
        val=Predictions(labels, wrong_at(labels, val), "val", CLASSES),
        test=Predictions(labels, wrong_at(labels, test), images, CLASSES, scores),
        versions=params.pop("versions", "keras 3"),
        params=params,
    )


def sure(found, by):
    """The run, its probabilities of what it reads made known: `by`, (N,)."""
    scores = Scores(1 - by, np.where(found.test.right, -np.log(by), -np.log(1 - by)), 2 * (1 - by))
    return replace(found, test=replace(found.test, scores=scores))


def wrong(n, *places):
    found = np.zeros(n, bool)
    found[list(places)] = True
    return found


def by_metric(result):
    return {each.metric: each for each in result.differences}


# --- two runs ------------------------------------------------------------------------------------


def test_probabilities_are_compared():
    """Two read alike, nine of ten images; one says 0.9 of each image, the other 0.98."""
    rng = np.random.default_rng(0)
    plain = run(rng.random(4900) < 0.1)
    a, b = (sure(plain, np.full(4900, by) + rng.uniform(0, 1e-6, 4900)) for by in (0.9, 0.98))
    found = by_metric(compare([a], [b]))["test_ece"]
    share = plain.test.right.mean()
    assert found.b == pytest.approx(0.98 - share, abs=1e-3)
    assert found.a < 0.03
    assert found.low < found.difference < found.high
    assert found.significant
    nll = by_metric(compare([a], [b]))["test_nll"]
    exact = b.test.scores.nll - a.test.scores.nll
    error = exact.std() / np.sqrt(len(exact))
    assert (nll.low, nll.high) == pytest.approx(
        (exact.mean() - 1.96 * error, exact.mean() + 1.96 * error), abs=0.1 * error
    )
    several = by_metric(compare([a, replace(a, name="a2", params={"train.seed": 2})], [b]))
    assert several["test_ece"].difference == pytest.approx(found.difference)
    shown = text.markdown(compare([a], [b]))
    assert "| expected calibration error |" in shown


def test_identical_predictions():
    same = run(wrong(98, 3, 50))
    result = compare([same], [same])
    assert result.verdict is Verdict.SAME
    assert (result.p_value, result.only_a, result.only_b) == (1, 0, 0)
    for each in result.differences:
        assert (each.difference, each.low, each.high) == pytest.approx((0, 0, 0), abs=1e-6)
    assert not result.classes
    assert not result.confusions
    assert not result.params
    assert text.sentence(result) == (
        "the same, image for image: a reads all 98 test images as a does"
    )


def test_as_good_but_other_mistakes_is_not_the_same():
    result = compare([run(wrong(98, 3))], [run(wrong(98, 50), name="b")])
    assert result.verdict is Verdict.NONE
    assert (result.only_a, result.only_b) == (1, 1)
    assert text.sentence(result).startswith("no difference that 98 test images can show (it would")


def test_figures_by_hand():
    # 98 images, two of each class; a is wrong in one image of class 0, b in none and one on val
    a = run(wrong(98, 0), name="a", train_accuracy=0.99)
    b = run(wrong(98), val=wrong(98, 5), name="b", train_accuracy=1.0)
    found = by_metric(compare([a], [b]))
    assert found["test_accuracy"].a == pytest.approx(97 / 98)
    assert found["test_accuracy"].b == 1
    assert found["test_balanced_accuracy"].a == pytest.approx((48 + 0.5) / 49)
    # class 0: precision 1, recall 1/2; class 1: precision 2/3, recall 1
    assert found["test_macro_f1"].a == pytest.approx((47 + 2 / 3 + 4 / 5) / 49)
    assert found["val_minus_test"].a == pytest.approx(1 / 98)
    assert found["val_minus_test"].b == pytest.approx(-1 / 98)
    assert found["overfitting_gap"].a == pytest.approx(-0.01)
    assert found["overfitting_gap"].difference == pytest.approx(1 / 98 + 0.01)
    assert found["test_accuracy"].a_std is None


def test_changes_by_hand():
    a, b = run(wrong(196, 0, 1, 4), name="a"), run(wrong(196, 4, 8), name="b")
    result = compare([a], [b])
    changed = [(each.true, each.images, each.a, each.b) for each in result.classes]
    assert changed == [("あ", 4, 2, 4), ("う", 4, 4, 3)]
    confused = [(each.true, each.predicted, each.a, each.b) for each in result.confusions]
    assert confused == [("あ", "い", 2, 0), ("う", "え", 0, 1)]


def test_one_point_better_on_as_many_images_as_k49_has():
    """A model with another 1 % of 38,547 images right, and chance the other way round."""
    rng = np.random.default_rng(0)
    n = 38_547
    base = rng.random(n) < 0.05
    better = base & (rng.random(n) < 0.7) | (rng.random(n) < 0.005)
    result = compare([run(base)], [run(better, name="b")])
    accuracy = result.primary
    truth = base.mean() - better.mean()
    assert truth == pytest.approx(0.01, abs=0.001)
    assert accuracy.difference == pytest.approx(truth)
    assert accuracy.low > 0.008
    assert accuracy.high < 0.013
    assert result.verdict is Verdict.BETTER
    assert result.p_value < 1e-10
    assert text.sentence(result).startswith(
        f"better: b reads {100 * truth:.2f} points more of 38,547"
    )
    assert compare([run(better)], [run(base, name="b")]).verdict is Verdict.WORSE


@pytest.mark.parametrize("counts", [(0, 0), (0, 1), (5, 0), (3, 9), (40, 21), (700, 777)])
def test_mcnemar_against_the_binomial(counts):
    """Twice the smaller tail of Binomial(n, 1/2), 1 at most."""
    tail = stats.binom.cdf(min(counts), sum(counts), 0.5)
    assert mcnemar(*counts) == pytest.approx(min(1, 2 * tail))


def simulated(rng, n, p, difference=0.0):
    """Two models on the same images of unlike difficulty, the second better by `difference`."""
    hard = rng.beta(1, 1 / p - 1, n)  # mean p
    return rng.random(n) < hard, rng.random(n) < hard * (1 - difference / p)


def test_p_values_of_equal_models_are_uniform():
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(200):
        a, b = simulated(rng, 38_547, 0.1)
        p_values.append(mcnemar(int(np.sum(~a & b)), int(np.sum(a & ~b))))
    assert stats.kstest(p_values, "uniform").pvalue > 0.05
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.1


@pytest.mark.slow
def test_interval_covers_the_truth_as_often_as_it_says():
    rng, pairs = np.random.default_rng(0), 120
    inside = dict.fromkeys(("test_accuracy", "overfitting_gap", "val_minus_test"), 0)
    for number in range(pairs):
        a, b = simulated(rng, 1960, 0.1, difference=0.02)
        val_a, val_b = simulated(rng, 1960, 0.08)
        found = by_metric(compare([run(a, val_a)], [run(b, val_b)], 500, seed=3 * number))
        for name, truth in zip(inside, (0.02, 0.0, -0.02), strict=True):
            inside[name] += found[name].low <= truth <= found[name].high
    for name, count in inside.items():
        assert 0.9 <= count / pairs <= 0.99, name  # about three standard deviations


@pytest.mark.slow
def test_equal_models_get_a_star_as_seldom_as_one_metric_would():
    """Was: a star for each of eight metrics in 5 % of comparisons, and so for any in far more."""
    rng, pairs, starred = np.random.default_rng(0), 100, 0
    for number in range(pairs):
        a, b = simulated(rng, 1960, 0.1)
        val_a, val_b = simulated(rng, 1960, 0.08)
        found = by_metric(compare([run(a, val_a)], [run(b, val_b)], 1000, seed=3 * number))
        del found["test_accuracy"]  # which is judged by itself
        starred += any(each.starred for each in found.values())
    assert starred / pairs <= 0.1  # 5 %, and three standard deviations


def test_parameters_without_effect_make_no_other_group():
    """Was: workers, the gate and retries did, and parameters that older files lack."""
    common = {"train.epochs": 3, "data.source": "standin", "tune.space": "a", "spaces.a.units": 1}
    old = {**common, "tune.workers": 1, "gate.fall": 0.0, "data.retries": 4}
    new = {**common, "tune.workers": 2, "gate.fall": 0.1, "fit.optimizer": "adamw"}
    assert used(old) == used(new)
    assert used({**new, "fit.optimizer": "sgd"}) != used(new)
    assert used({**new, "spaces.b.units": 1}) == used(new)
    other = {**new, "tune.space": "b", "spaces.b.units": 1}  # of the same content
    assert {key for key, value in used(other).items() if used(new)[key] != value} == {"tune.space"}


# --- seeds ---------------------------------------------------------------------------------------


def seeds(rng, n, p, runs, noise, name):
    """Runs of one recipe: the same hard images, and a spread of accuracy between seeds."""
    hard = np.random.default_rng(0).beta(1, 1 / p - 1, n)
    return [
        run(
            rng.random(n) < np.clip(hard * (1 + rng.normal(0, noise / p)), 0, 1),
            name=f"{name}-{i}",
            **{"train.seed": i},
        )
        for i in range(runs)
    ]


def test_mean_and_spread_over_seeds():
    a = [run(wrong(98, *range(i)), name=f"a-{i}", **{"train.seed": i}) for i in (1, 2, 3)]
    b = [run(wrong(98, *range(i)), name=f"b-{i}", **{"train.seed": i}) for i in (2, 4)]
    result = compare(a, b)
    found = result.primary
    rates = [np.array([1, 2, 3]) / 98, np.array([2, 4]) / 98]
    assert found.a == pytest.approx(1 - rates[0].mean())
    assert found.a_std == pytest.approx(rates[0].std(ddof=1))
    assert found.b_std == pytest.approx(rates[1].std(ddof=1))
    assert result.only_a is None
    assert "5 trainings and 98 test images" in text.sentence(result)
    assert result.params == {"train.seed": ([1, 2, 3], [2, 4])}


def test_spread_of_seeds_judges():
    """Was the point: images alone would call two seeds of a noisy recipe different models."""
    rng = np.random.default_rng(0)
    a, b = (seeds(rng, 4900, 0.05, 5, 0.01, name) for name in "ab")
    alone = [compare([x], [y], resamples=200).verdict for x, y in zip(a, b, strict=True)]
    assert any(verdict is not Verdict.NONE for verdict in alone)
    assert compare(a, b).verdict is Verdict.NONE


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "spread"), [((5, 5), 0.01), ((1, 5), 0.0)])
def test_interval_over_seeds_covers_as_often_as_it_says(sizes, spread):
    """Recipes of which the second is 2 points better; seeds and images are drawn anew each time."""
    rng, inside, times = np.random.default_rng(0), 0, 100
    for number in range(times):
        hard = rng.beta(1, 9, 980)
        sides = [
            [
                run(
                    rng.random(980) < np.clip(share * hard + rng.normal(0, spread), 0, 1),
                    **{"train.seed": i},
                )
                for i in range(size)
            ]
            for share, size in zip((1, 0.8), sizes, strict=True)
        ]
        differences, p_value = differ(*sides, resamples=200, seed=3 * number)
        found = differences["test_accuracy"]
        inside += found.low <= 0.02 <= found.high
        assert (p_value < 0.05) == found.significant
    assert 0.9 <= inside / times <= 0.99


def test_welch_without_images_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.97, 0.01, 5), rng.normal(0.98, 0.002, 4)
    low, high, p = t_interval(a, b, 0.0)
    theirs = stats.ttest_ind(b, a, equal_var=False)
    assert p == pytest.approx(theirs.pvalue)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval()))


def test_one_run_beside_a_group_without_images_is_the_equal_variance_test():
    a, b = np.array([0.95]), np.array([0.96, 0.97, 0.955, 0.97])
    low, high, p = t_interval(a, b, 0.0)
    spread = b.std(ddof=1) * np.sqrt(1 + 1 / 4)
    assert p == pytest.approx(2 * stats.t(3).sf((b.mean() - a.mean()) / spread))
    assert high - low == pytest.approx(2 * stats.t(3).ppf(0.975) * spread)


# --- refusals and notes --------------------------------------------------------------------------


def test_other_test_images_are_refused():
    with pytest.raises(K49Error, match=r"^a and b have other test images.*run both on the same"):
        compare([run(wrong(98))], [run(wrong(98), name="b", images="others")])


def test_a_group_that_differs_in_more_than_the_seed_is_refused():
    group = [
        run(wrong(98), name=f"x-{i}", **{"train.seed": i, "train.epochs": 40 + i}) for i in (0, 1)
    ]
    with pytest.raises(K49Error, match=r"^x-0 and x-1 are no group: they differ in train\.epochs"):
        compare([run(wrong(98))], group)


def test_a_seed_again_is_no_other_seed():
    group = [run(wrong(98, i), name=f"x-{i}", **{"train.seed": 7}) for i in (0, 1)]
    with pytest.raises(K49Error, match=r"x-0, x-1: no group of seeds, train\.seed is 7, 7"):
        compare([run(wrong(98))], group)


def test_stale_run_is_named():
    stale = replace(run(wrong(98, 1)), name="workspace", stale=("train", "evaluate"))
    (note,) = [note for note in compare([run(wrong(98))], [stale]).notes if "`dvc repro`" in note]
    assert note.startswith("workspace: code or settings of train, evaluate changed")


def test_other_versions_are_named():
    a, b = run(wrong(98, 1), versions="keras 3.14"), run(wrong(98, 2), versions="keras 3.15")
    assert any("keras 3.14; keras 3.15" in note for note in compare([a], [b]).notes)
    assert not any("versions" in note for note in compare([a], [a]).notes)


def test_balanced_accuracy_that_says_otherwise_is_named():
    """Many images of one class gained, a rare class lost: accuracy is better, the balance worse."""
    labels = np.sort(np.concatenate([np.zeros(3000), np.repeat(np.arange(1, 49), 12)])).astype(
        np.uint8
    )
    a, b = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    a[:200] = True  # of class 0
    b[3000::4] = True  # a quarter of each rare class
    scores = Scores(*np.full((3, len(labels)), 0.01))
    made = [
        Run(
            n,
            "x",
            1.0,
            *[Predictions(labels, wrong_at(labels, w), n2, CLASSES, scores) for n2 in "vt"],
            "k",
            {},
        )
        for n, w in (("a", a), ("b", b))
    ]
    result = compare(made[:1], made[1:])
    assert result.verdict is Verdict.BETTER
    assert any("balanced accuracy" in note and "worse" in note for note in result.notes)


def test_parameters_that_differ():
    a = run(wrong(98), **{"train.epochs": 40, "fit.dropout": 0.0, "train.seed": 1, "only.a": 1})
    b = run(wrong(98), name="b", **{"train.epochs": 80, "fit.dropout": 0.0, "train.seed": 1})
    result = compare([a], [b])
    assert result.params == {"train.epochs": (40, 80), "only.a": (1, None)}
    assert "| train.epochs | 40 | 80 |" in text.markdown(result)


def test_bar_in_a_parameter_is_no_column():
    a, b = (run(wrong(98), name=name, **{"data.source": f"{name}|x"}) for name in "ab")
    assert "| data.source | `a\\|x` | `b\\|x` |" in text.markdown(compare([a], [b]))


def test_other_labels_of_the_same_images_are_other_test_images():
    split = bars(1, seed=0)
    relabelled = replace(split, labels=np.roll(split.labels, 1, axis=0))
    assert fingerprint(split) != fingerprint(relabelled)


# --- the gate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "broken"),
    [
        ({"overfitting_gap": None, "fall": None}, []),
        ({"overfitting_gap": 0.1, "fall": 0.2}, []),
        ({"overfitting_gap": 0.04, "fall": None}, ["overfitting gap 5.10 points"]),
        ({"overfitting_gap": None, "fall": 0.0}, ["test accuracy falls by 10.20 points"]),
        ({"overfitting_gap": 0.0, "fall": 0.1}, ["overfitting gap 5.10", "falls by 10.20"]),
    ],
)
def test_gate(limits, broken):
    a, b = run(wrong(98)), run(wrong(98, *range(10)), val=wrong(98, *range(5)), name="b")
    found = gate(compare([a], [b]), Gate(**limits))
    assert len(found) == len(broken)
    assert all(expected in line for line, expected in zip(found, broken, strict=True))


def test_gate_lets_chance_and_improvement_pass():
    strict = Gate(overfitting_gap=None, fall=0.0)
    good, bad = run(wrong(98)), run(wrong(98, 1, 2), name="b")
    assert compare([good], [bad]).verdict is Verdict.NONE
    assert not gate(compare([good], [bad]), strict)
    assert not gate(compare([run(wrong(98, *range(30)))], [bad]), strict)
