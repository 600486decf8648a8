"""Classes, and pairs of classes, that two sides read not equally often."""

from dataclasses import dataclass

import numpy as np

from k49.comparison.runs import Run


@dataclass(frozen=True)
class Change:
    """How many test images of a class, or of a class read as another, each side has (a mean)."""

    true: str
    predicted: str
    images: int  # of the true class
    a: float
    b: float


def changes(a: list[Run], b: list[Run], right: bool) -> list[Change]:
    """Return where the sides' confusion matrices differ, largest difference first.

    Args:
        a, b: the sides.
        right: the classes themselves (the diagonal), or else what is taken for what.
    """
    counts = [mean_confusion(side) for side in (a, b)]
    classes = b[0].test.classes
    images = np.bincount(b[0].test.labels, minlength=len(classes))
    cells = zip(*np.nonzero(counts[0] != counts[1]), strict=True)
    found = [
        Change(classes[i], classes[j], int(images[i]), *(float(count[i, j]) for count in counts))
        for i, j in cells
        if (i == j) == right
    ]
    return sorted(found, key=lambda change: -abs(change.b - change.a))


def mean_confusion(side: list[Run]) -> np.ndarray:
    """Return the confusion matrix (C, C) of a side: images, a mean over its runs."""
    classes = len(side[0].test.classes)
    total = np.zeros((classes, classes))
    for run in side:
        np.add.at(total, (run.test.labels, run.test.predicted), 1)
    return total / len(side)
