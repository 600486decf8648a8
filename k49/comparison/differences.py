"""Differences of metrics with their 95 % intervals, and McNemar's test."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from k49.comparison.runs import Run
from k49.evaluation.metrics import MEANS, accuracy_and_f1, bootstrap
from k49.evaluation.predictions import Predictions
from k49.evaluation.probabilities import bins

LEVEL = 0.05
PRIMARY_METRIC = "test_accuracy"  # whose p-value gives the verdict
OF_PROBABILITIES = ("test_ece", "test_nll", "test_brier")  # lower is better


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
    p_value: float  # of no difference, by that interval's method
    starred: bool = False  # significant among all metrics: see `star`

    @property
    def significant(self) -> bool:
        return self.low > 0 or self.high < 0


def differ(
    a: list[Run], b: list[Run], resamples: int, seed: int
) -> tuple[dict[str, Difference], float]:
    """Return the differences of all metrics by name, and with several runs accuracy's p-value."""
    runs = [*a, *b]
    metrics_of_runs: list[dict[str, Any]] = [metrics_of(run) for run in runs]
    # a standard deviation needs fewer samples than percentiles do
    resamples = resamples if len(runs) == 2 else min(resamples, 1000)
    samples = bootstrap_metrics(runs, resamples, seed)
    added = [contributions(run.test) for run in runs]
    samples |= bootstrap_calibration(added, resamples, seed)
    for metrics, contribution in zip(metrics_of_runs, added, strict=True):
        metrics |= calibration_of(contribution.mean(1))
    result, p_value = {}, 1.0
    for name in metrics_of_runs[0]:
        of_a, of_b = np.split(np.array([metrics[name] for metrics in metrics_of_runs]), [len(a)])
        drawn_a, drawn_b = np.split(samples[name], [len(a)])
        if len(runs) == 2:
            drawn = drawn_b[0] - drawn_a[0]
            low, high = np.percentile(drawn, [2.5, 97.5])
            # how often the other sign is drawn, on both sides; of none, once at most
            other = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
            p = min(1.0, 2 * max(int(other), 1) / len(drawn))
        else:
            low, high, p = t_interval(of_a, of_b, std_of_images(drawn_a, drawn_b))
            p_value = p if name == PRIMARY_METRIC else p_value
        result[name] = Difference(
            metric=name,
            a=float(of_a.mean()),
            b=float(of_b.mean()),
            a_std=std(of_a),
            b_std=std(of_b),
            difference=float(of_b.mean() - of_a.mean()),
            low=float(low),
            high=float(high),
            p_value=float(p),
        )
    return star(result), p_value


def star(differences: dict[str, Difference]) -> dict[str, Difference]:
    """Star significant differences: accuracy by itself, the other metrics among each other.

    By Holm's procedure (S. Holm, 1979, Scand. J. Statist. 6): in 5 % of comparisons without any
    difference one of them gets a star, not in 5 % for each.
    """
    others = sorted(
        (difference.p_value, name)
        for name, difference in differences.items()
        if name != PRIMARY_METRIC
    )
    starred = {PRIMARY_METRIC} if differences[PRIMARY_METRIC].significant else set()
    for rank, (p, name) in enumerate(others):
        if p * (len(others) - rank) >= LEVEL:
            break
        starred.add(name)
    return {
        name: replace(difference, starred=name in starred)
        for name, difference in differences.items()
    }


def std(values: np.ndarray) -> float | None:
    """Return the standard deviation of a sample (n,); None for a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def metrics_of(run: Run) -> dict[str, float]:
    test = {
        f"test_{name}": v
        for name, v in accuracy_and_f1(run.test.labels, run.test.predicted).items()
        if name in MEANS  # which `bootstrap` gives intervals
    }
    val_accuracy = float(run.val.right.mean())
    return {
        **test,
        "val_minus_test": val_accuracy - test["test_accuracy"],
        "overfitting_gap": run.train_accuracy - val_accuracy,
    }


def calibration_of(means: np.ndarray) -> dict[str, np.ndarray]:
    """Return how good probabilities are, of means (bins + 2, ...) of `contributions`."""
    values = np.abs(means[:-2]).sum(0), means[-2], means[-1]
    return dict(zip(OF_PROBABILITIES, values, strict=True))


def bootstrap_calibration(
    added: list[np.ndarray], resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Return `calibration_of` on bootstrap samples, each (runs, resamples).

    All are functions of means over many images, which are normally distributed from sample to
    sample: those are drawn, all runs' together, not the images. The bins of `ece` stay.

    Args:
        added: `contributions` of each run.
        resamples: bootstrap samples.
        seed: of the bootstrap.
    """
    values = np.concatenate(added)  # (runs * rows of one, N)
    means, covariance = values.mean(1), np.cov(values, bias=True) / values.shape[1]
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_normal(means, covariance, resamples, method="eigh")
    return calibration_of(drawn.T.reshape(len(added), -1, resamples).swapaxes(0, 1))


def contributions(test: Predictions) -> np.ndarray:
    """Return each image's contribution to the bins of `ece`, to nll and to brier: (bins + 2, N)."""
    if (scores := test.scores) is None or scores.brier is None:
        raise ValueError("predictions of test without scores")
    chosen = 1 - scores.doubt
    parts = bins(chosen)
    result = np.zeros((len(parts) + 2, len(chosen)))
    for row, images in zip(result, parts, strict=False):
        row[images] = chosen[images] - test.right[images]
    result[-2:] = scores.nll, scores.brier
    return result


def bootstrap_metrics(runs: list[Run], resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Return `metrics_of` on bootstrap samples, each (runs, resamples), the same for all runs.

    Validation is sampled independently, and for runs with other validation images, too.
    """
    predicted = np.array([run.test.predicted for run in runs])
    test = bootstrap(runs[0].test.labels, predicted, resamples, seed)
    val = np.empty((len(runs), resamples))
    fingerprints = [run.val.images for run in runs]
    for number, images in enumerate(dict.fromkeys(fingerprints), start=1):
        members = [i for i, images_of_run in enumerate(fingerprints) if images_of_run == images]
        right = np.array([runs[i].val.right for i in members])
        val[members] = bootstrap_accuracy(right, resamples, seed + number)
    train = np.array([[run.train_accuracy] for run in runs])
    return {
        **{f"test_{name}": values for name, values in test.items()},
        "val_minus_test": val - test["accuracy"],
        "overfitting_gap": train - val,
    }


def bootstrap_accuracy(right: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return accuracies of several models on the same bootstrap samples of the images.

    As `bootstrap` does, but drawn from the few combinations of right and wrong that occur.

    Args:
        right: (models, N) bool, which images each model reads correctly.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Returns:
        (models, resamples).
    """
    cells, counts = np.unique(right, axis=1, return_counts=True)
    n = right.shape[1]
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, resamples)
    return cells @ drawn.T / n


def std_of_images(a: np.ndarray, b: np.ndarray) -> float:
    """Return the standard deviation of the difference of means that is due to the images alone.

    Runs of one recipe fail on other images each; the spread over the seeds has that in it already,
    and so it is taken out here (the interaction of a two-way analysis of variance).

    Args:
        a: (n, resamples), a metric of the runs of one side on bootstrap samples of the images.
        b: (m, resamples), of the other on the same samples; n + m is 3 at least.
    """
    own = [
        (values - values.mean(0)).var(axis=1).sum() / (len(values) - 1)
        for values in (a, b)
        if len(values) > 1
    ]
    interaction = own[0] / len(a) + own[-1] / len(b)  # one run borrows the other side's
    return float(np.sqrt(max((b.mean(0) - a.mean(0)).var() - interaction, 0.0)))


def t_interval(a: np.ndarray, b: np.ndarray, images: float) -> tuple[float, float, float]:
    """Return 95 % interval and p-value of the difference of two means over seeds and images.

    Welch's, with the sampling of the images as a third part of the variance, taken as known
    (F. E. Satterthwaite, 1946, doi:10.2307/3002019, for the degrees of freedom). One number alone
    has no spread, and is taken to have the other side's.

    Args:
        a: (n,) a metric of the runs of one side.
        b: (m,) of the other; n + m is 3 at least.
        images: standard deviation of the difference, from `std_of_images`.
    """
    several = [values for values in (a, b) if len(values) > 1]
    if len(several) == 2:
        seeds = [(values.var(ddof=1) / len(values), len(values) - 1) for values in several]
    else:
        (group,) = several
        seeds = [(group.var(ddof=1) * (1 / len(group) + 1), len(group) - 1)]
    variance = sum(part for part, _ in seeds) + images**2
    difference = b.mean() - a.mean()
    if not variance:
        return difference, difference, float(difference == 0)
    below = sum(part**2 / df for part, df in seeds)
    student = stats.t(variance**2 / below) if below else stats.norm
    error = np.sqrt(variance)
    reach = student.ppf(1 - LEVEL / 2) * error
    return difference - reach, difference + reach, float(2 * student.sf(abs(difference) / error))


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p-value that two models read equally well (Q. McNemar, 1947).

    Args:
        only_a, only_b: images that only one of them reads correctly.
    """
    if not only_a + only_b:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)
