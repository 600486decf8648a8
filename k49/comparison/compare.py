"""Two sides, each one training or several that differ in their seed: differences, and a verdict.

One training each: the images are drawn again (paired bootstrap), and McNemar's exact test judges
accuracy. That says which of two *models* reads better. Several trainings on a side: the spread over
their seeds is part of every interval, and judges, which says which of two *settings* is better;
training noise is often the larger part (X. Bouthillier et al., 2021, arXiv:2103.03098).
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from scipy import stats

from k49.data import NUM_CLASSES
from k49.data.classes import CHARACTERS
from k49.errors import K49Error
from k49.evaluation.metrics import bootstrap, means
from k49.evaluation.predictions import Predictions
from k49.settings import Gate

SEED = "train.seed"
LEVEL = 0.05
DECIDES = "test_accuracy"


@dataclass(frozen=True)
class Run:
    """What a revision has of one training."""

    name: str
    dataset: str
    train_accuracy: float
    val: Predictions
    test: Predictions
    versions: str  # of Keras and TensorFlow
    params: dict[str, Any]  # dotted keys of params.yaml, and what the search found


class Verdict(StrEnum):
    """Of the second side, beside the first."""

    SAME = "the same"
    BETTER = "better"
    WORSE = "worse"
    NONE = "no difference"


@dataclass(frozen=True)
class Difference:
    """One metric of both sides, as shares of 1: means over their runs."""

    metric: str
    a: float
    b: float
    a_std: float | None  # over the seeds; None of one run
    b_std: float | None
    difference: float  # b minus a
    low: float  # of its 95 % interval
    high: float

    @property
    def shows(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Change:
    """How many test images of a class, or of a class read as another, each side has (a mean)."""

    true: str
    predicted: str
    images: int  # of the true class
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """The second side beside the first."""

    a: list[str]  # names of runs
    b: list[str]
    dataset: str
    images: int  # of test
    verdict: Verdict
    p_value: float  # McNemar's exact one; with several runs on a side, of a t-test
    only_a: int | None  # images that only a reads rightly; None with several runs on a side
    only_b: int | None
    differences: list[Difference]
    classes: list[Change]  # read rightly; the largest change first, unchanged ones left out
    confusions: list[Change]  # read as another class; likewise
    params: dict[str, tuple[Any, Any]]  # those that differ
    notes: list[str]

    @property
    def decides(self) -> Difference:
        """The difference that the verdict is about."""
        return next(each for each in self.differences if each.metric == DECIDES)


def compare(a: list[Run], b: list[Run], resamples: int = 5_000, seed: int = 49) -> Comparison:
    """Compare two sides.

    Intervals are of 95 %. Of one run each: percentiles of a paired bootstrap over the images of
    test (and of validation, for the two gaps; train accuracy is taken as it is). Of several:
    Student's t around the difference of means, its variance that of the seeds (Welch's; a single
    run borrows the other side's spread) plus that of the bootstrap.

    Raises:
        K49Error: the runs have other test images, or those of a side differ in more than the seed.
    """
    runs = [*a, *b]
    check_test_images(runs)
    for side in (a, b):
        check_one_group(side)
    first, last = a[0], b[0]
    single = len(runs) == 2
    differences, p_value = differ(a, b, resamples, seed)
    only_a = int(np.count_nonzero(first.test.right & ~last.test.right))
    only_b = int(np.count_nonzero(last.test.right & ~first.test.right))
    if single:
        p_value = mcnemar(only_a, only_b)
    same = single and np.array_equal(first.test.predicted, last.test.predicted)
    decides = differences[DECIDES]
    return Comparison(
        a=[run.name for run in a],
        b=[run.name for run in b],
        dataset=last.dataset,
        images=len(last.test),
        verdict=Verdict.SAME if same else judge(decides.difference, p_value),
        p_value=p_value,
        only_a=only_a if single else None,
        only_b=only_b if single else None,
        differences=list(differences.values()),
        classes=changes(a, b, right=True),
        confusions=changes(a, b, right=False),
        params=differing(a, b),
        notes=notes(a, b, differences, same),
    )


def check_test_images(runs: list[Run]) -> None:
    """Refuse runs on other test images.

    Raises:
        K49Error: there are some.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.test.images != first.test.images:
            raise K49Error(
                f"{first.name} and {run.name} have other test images, so their figures say nothing "
                f"of each other: {len(first.test)} of {first.dataset}, {len(run.test)} of "
                f"{run.dataset}; run both on the same data"
            )


def check_one_group(side: list[Run]) -> None:
    """Refuse runs that are more than seeds of one another.

    Raises:
        K49Error: they differ in other parameters.
    """
    for run in side[1:]:
        others = set(unlike(side[0].params, run.params)) - {SEED}
        if others:
            raise K49Error(
                f"{side[0].name} and {run.name} are no group: they differ in "
                f"{', '.join(sorted(others))}, and may in {SEED} only"
            )


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value that two models read equally well (Q. McNemar, 1947).

    Args:
        only_a, only_b: images that only one of them reads rightly.
    """
    if not only_a + only_b:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def judge(difference: float, p_value: float) -> Verdict:
    """The verdict on accuracy."""
    if p_value >= LEVEL:
        return Verdict.NONE
    return Verdict.BETTER if difference > 0 else Verdict.WORSE


# --- metrics, each with its interval -------------------------------------------------------------


def differ(
    a: list[Run], b: list[Run], resamples: int, seed: int
) -> tuple[dict[str, Difference], float]:
    """All metrics' differences, by name; and the p-value of accuracy's, with several runs."""
    runs = [*a, *b]
    found = [figures(run) for run in runs]
    samples = drawn(runs, resamples, seed)
    result, p_value = {}, 1.0
    for name in found[0]:
        of_a, of_b = np.split(np.array([each[name] for each in found]), [len(a)])
        of_images = samples[name][len(a) :].mean(0) - samples[name][: len(a)].mean(0)
        if len(runs) == 2:
            low, high = np.percentile(of_images, [2.5, 97.5])
        else:
            low, high, p = t_interval(of_a, of_b, of_images.std())
            p_value = p if name == DECIDES else p_value
        result[name] = Difference(
            metric=name,
            a=float(of_a.mean()),
            b=float(of_b.mean()),
            a_std=std(of_a),
            b_std=std(of_b),
            difference=float(of_b.mean() - of_a.mean()),
            low=float(low),
            high=float(high),
        )
    return result, p_value


def std(values: np.ndarray) -> float | None:
    """Standard deviation of a sample (n,); None of one value."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def figures(run: Run) -> dict[str, float]:
    """A run's metrics under the names that they have in `metrics/`."""
    test = {f"test_{name}": v for name, v in means(run.test.labels, run.test.predicted).items()}
    val_accuracy = float(run.val.right.mean())
    return {
        **test,
        "val_minus_test": val_accuracy - test["test_accuracy"],
        "overfitting_gap": run.train_accuracy - val_accuracy,
    }


def drawn(runs: list[Run], resamples: int, seed: int) -> dict[str, np.ndarray]:
    """`figures` of bootstrap samples, each (runs, resamples); all runs on the same samples.

    Validation is sampled independently, and for runs with other validation images, too.
    """
    predicted = np.array([run.test.predicted for run in runs])
    test = bootstrap(runs[0].test.labels, predicted, resamples, seed)
    val = np.empty((len(runs), resamples))
    of_images = [run.val.images for run in runs]
    for number, images in enumerate(dict.fromkeys(of_images), start=1):
        members = [i for i, each in enumerate(of_images) if each == images]
        predicted = np.array([runs[i].val.predicted for i in members])
        labels = runs[members[0]].val.labels
        val[members] = bootstrap(labels, predicted, resamples, seed + number)["accuracy"]
    train = np.array([[run.train_accuracy] for run in runs])
    return {
        **{f"test_{name}": values for name, values in test.items()},
        "val_minus_test": val - test["accuracy"],
        "overfitting_gap": train - val,
    }


def t_interval(a: np.ndarray, b: np.ndarray, of_images: float) -> tuple[float, float, float]:
    """95 % interval and p-value of the difference of two means over seeds, on sampled images.

    Welch's, with the sampling of the images as a third part of the variance, known exactly
    (F. E. Satterthwaite, 1946, doi:10.2307/3002019, for the degrees of freedom). One number alone
    has no spread, and is taken to have the other side's.

    Args:
        a: (n,) a metric of the runs of one side.
        b: (m,) of the other; n + m is 3 at least.
        of_images: standard deviation of the difference over samples of the images.
    """
    several = [each for each in (a, b) if len(each) > 1]
    if len(several) == 2:
        seeds = [(each.var(ddof=1) / len(each), len(each) - 1) for each in several]
    else:
        (group,) = several
        seeds = [(group.var(ddof=1) * (1 / len(group) + 1), len(group) - 1)]
    variance = sum(part for part, _ in seeds) + of_images**2
    difference = b.mean() - a.mean()
    if not variance:
        return difference, difference, float(difference == 0)
    below = sum(part**2 / df for part, df in seeds)
    student = stats.t(variance**2 / below) if below else stats.norm
    error = np.sqrt(variance)
    reach = student.ppf(1 - LEVEL / 2) * error
    return difference - reach, difference + reach, float(2 * student.sf(abs(difference) / error))


# --- what else differs ---------------------------------------------------------------------------


def changes(a: list[Run], b: list[Run], right: bool) -> list[Change]:
    """Classes that the sides read rightly, or take for others, not equally often."""
    counts = [mean_confusion(side) for side in (a, b)]
    images = np.bincount(b[0].test.labels, minlength=NUM_CLASSES)
    cells = zip(*np.nonzero(counts[0] != counts[1]), strict=True)
    found = [
        Change(
            CHARACTERS[i], CHARACTERS[j], int(images[i]), *(float(each[i, j]) for each in counts)
        )
        for i, j in cells
        if (i == j) == right
    ]
    return sorted(found, key=lambda change: -abs(change.b - change.a))


def mean_confusion(side: list[Run]) -> np.ndarray:
    """Images of each class (49) read as each class (49): a mean over the runs."""
    total = np.zeros((NUM_CLASSES, NUM_CLASSES))
    for run in side:
        np.add.at(total, (run.test.labels, run.test.predicted), 1)
    return total / len(side)


def unlike(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The keys under which two runs have other values, or only one has any."""
    return [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]


def differing(a: list[Run], b: list[Run]) -> dict[str, tuple[Any, Any]]:
    """Parameters that differ between the sides; seeds of a group as a list."""
    first, last = a[0].params, b[0].params
    found = {key: (first.get(key), last.get(key)) for key in unlike(first, last)}
    of_a, of_b = ([run.params.get(SEED) for run in side] for side in (a, b))
    if of_a != of_b:
        found[SEED] = (of_a[0] if len(of_a) == 1 else of_a, of_b[0] if len(of_b) == 1 else of_b)
    return found


def notes(a: list[Run], b: list[Run], differences: dict[str, Difference], same: bool) -> list[str]:
    """What else one should know."""
    found = []
    versions = [Counter(run.versions for run in side) for side in (a, b)]
    if set(versions[0]) != set(versions[1]):
        first, last = (" and ".join(each) for each in versions)
        found.append(f"trained by other versions, which alone may change results: {first}; {last}")
    if len({run.val.images for run in (*a, *b)}) > 1:
        found.append("other validation images: differences of the two gaps are not paired")
    balanced, decides = differences["test_balanced_accuracy"], differences[DECIDES]
    if balanced.shows and not (decides.shows and decides.difference * balanced.difference > 0):
        found.append(
            f"balanced accuracy, where rare classes count as much, says "
            f"{'better' if balanced.difference > 0 else 'worse'}"
        )
    if len(a) == len(b) == 1 and not same:
        found.append(
            "one training each: this judges two models, not their settings; another seed alone may "
            "change as much (README: One number is one draw)"
        )
    return found


# --- the gate ------------------------------------------------------------------------------------


def gate(comparison: Comparison, limits: Gate) -> list[str]:
    """What a pull request should not do: a line for each limit that the second side breaks."""
    found = []
    gap = next(each.b for each in comparison.differences if each.metric == "overfitting_gap")
    if limits.overfitting_gap is not None and gap > limits.overfitting_gap:
        found.append(
            f"overfitting gap {100 * gap:.2f} points, gate.overfitting_gap allows "
            f"{100 * limits.overfitting_gap:.2f}"
        )
    fall = -comparison.decides.difference
    if limits.fall is not None and comparison.verdict is Verdict.WORSE and fall > limits.fall:
        found.append(
            f"test accuracy falls by {100 * fall:.2f} points, gate.fall allows "
            f"{100 * limits.fall:.2f}"
        )
    return found
