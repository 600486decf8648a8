"""Two sides, each one training or several that differ in their seed: differences, and a verdict.

One training each: the images are drawn again (paired bootstrap), and McNemar's exact test judges
accuracy. That says which of two *models* reads better. Several trainings on a side: the spread over
their seeds is part of every interval, and judges, which says which of two *settings* is better;
training noise is often the larger part (X. Bouthillier et al., 2021, arXiv:2103.03098).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from k49.comparison.differences import LEVEL, PRIMARY_METRIC, Difference, differ, mcnemar
from k49.comparison.runs import (
    Change,
    Run,
    changes,
    check_one_group,
    check_test_images,
    differing_params,
)
from k49.settings import Gate


class Verdict(StrEnum):
    SAME = "the same"
    BETTER = "better"
    WORSE = "worse"
    NONE = "no difference"


@dataclass(frozen=True)
class Comparison:
    """The second side compared with the first."""

    a: list[str]  # names of runs
    b: list[str]
    dataset: str
    images: int  # of test
    verdict: Verdict
    p_value: float  # McNemar's exact one; with several runs on a side, of a t-test
    only_a: int | None  # images that only a reads correctly; None with several runs on a side
    only_b: int | None
    differences: list[Difference]
    classes: list[Change]  # read correctly; the largest change first, unchanged ones left out
    confusions: list[Change]  # read as another class; likewise
    params: dict[str, tuple[Any, Any]]  # that differ
    notes: list[str]

    @property
    def primary(self) -> Difference:
        return self.metric(PRIMARY_METRIC)

    def metric(self, name: str) -> Difference:
        return next(difference for difference in self.differences if difference.metric == name)


def compare(a: list[Run], b: list[Run], resamples: int = 5_000, seed: int = 49) -> Comparison:
    """Compare two sides.

    Intervals are of 95 %. Of one run each: percentiles of a paired bootstrap over the images of
    test (and of validation, for the two gaps; train accuracy is taken as it is). Of several:
    Student's t around the difference of means, its variance that of the seeds (Welch's; a single
    run borrows the other side's spread) plus that of the images.

    Raises:
        K49Error: test images differ, or runs of one side differ in more than the seed.
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
    primary = differences[PRIMARY_METRIC]
    return Comparison(
        a=[run.name for run in a],
        b=[run.name for run in b],
        dataset=last.dataset,
        images=len(last.test),
        verdict=Verdict.SAME if same else judge(primary.difference, p_value),
        p_value=p_value,
        only_a=only_a if single else None,
        only_b=only_b if single else None,
        differences=list(differences.values()),
        classes=changes(a, b, right=True),
        confusions=changes(a, b, right=False),
        params=differing_params(a, b),
        notes=notes(a, b, differences, same),
    )


def judge(difference: float, p_value: float) -> Verdict:
    if p_value >= LEVEL:
        return Verdict.NONE
    return Verdict.BETTER if difference > 0 else Verdict.WORSE


def notes(a: list[Run], b: list[Run], differences: dict[str, Difference], same: bool) -> list[str]:
    lines = [
        f"{run.name}: code or settings of {', '.join(run.stale)} changed after it ran: its "
        "figures are out of date; `dvc repro` renews them"
        for run in (*a, *b)
        if run.stale
    ]
    versions = [dict.fromkeys(run.versions for run in side) for side in (a, b)]
    if versions[0] != versions[1]:
        first, last = (" and ".join(names) for names in versions)
        lines.append(f"trained by other versions, which alone may change results: {first}; {last}")
    if len({run.val.images for run in (*a, *b)}) > 1:
        lines.append("other validation images: differences of the two gaps are not paired")
    balanced, primary = differences["test_balanced_accuracy"], differences[PRIMARY_METRIC]
    if balanced.starred and not (
        primary.significant and primary.difference * balanced.difference > 0
    ):
        lines.append(
            f"balanced accuracy, where rare classes count as much, says "
            f"{'better' if balanced.difference > 0 else 'worse'}"
        )
    if len(a) == len(b) == 1 and not same:
        lines.append(
            "one training each: this judges two models, not their settings; another seed alone may "
            "change as much (docs/experiments.md, Seeds)"
        )
    return lines


def gate(comparison: Comparison, limits: Gate) -> list[str]:
    """Return a line for each limit of the gate that the second side breaks."""
    faults = []
    gap = comparison.metric("overfitting_gap").b
    if limits.overfitting_gap is not None and gap > limits.overfitting_gap:
        faults.append(
            f"overfitting gap {100 * gap:.2f} points, gate.overfitting_gap allows "
            f"{100 * limits.overfitting_gap:.2f}"
        )
    fall = -comparison.primary.difference
    if limits.fall is not None and comparison.verdict is Verdict.WORSE and fall > limits.fall:
        faults.append(
            f"test accuracy falls by {100 * fall:.2f} points, gate.fall allows "
            f"{100 * limits.fall:.2f}"
        )
    return faults
