"""A run, which runs can be compared, and the classes that two sides read differently."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, RootModel

from k49.errors import K49Error, NotComparableError
from k49.evaluation.predictions import Predictions
from k49.settings import MAX_EPOCHS, Line

SEED = "train.seed"
Share = Annotated[float, Field(ge=0, le=1)]


class RevisionFile(BaseModel):
    """A file of a revision, which may be a stranger's: checked; unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class TrainMetrics(RevisionFile):
    train_data: Line
    train_accuracy: Share
    overfitting_gap: Annotated[float, Field(ge=-1, le=1)]
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
    weights: Annotated[int, Field(ge=1)] | None = None  # older runs lack it
    versions: Line


class TestMetrics(RevisionFile):
    test_accuracy: Share
    test_balanced_accuracy: Share
    test_ece: Share | None = None


class CurveRow(RevisionFile):
    epoch: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
    split: Literal["train", "validation"]
    loss: float
    accuracy: Share


class Curves(RootModel[Annotated[list[CurveRow], Field(min_length=1, max_length=2 * MAX_EPOCHS)]]):
    """All of them."""


@dataclass(frozen=True)
class Run:
    name: str
    dataset: str
    train_accuracy: float
    val: Predictions
    test: Predictions
    versions: str  # of Keras and TensorFlow
    params: dict[str, Any]  # dotted keys of params.yaml, and the search's winner
    stale: tuple[str, ...] = ()  # stages whose code or settings changed after they ran


def check_test_images(runs: list[Run]) -> None:
    """Refuse runs on other test images.

    Raises:
        NotComparableError: there are some.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.test.images != first.test.images:
            of_first, of_run = (
                f"{len(side.test):,} of {side.dataset}, fingerprint {side.test.images[:8]}"
                for side in (first, run)
            )
            raise NotComparableError(
                f"{first.name} and {run.name} have other test images, so their figures say nothing "
                f"of each other: {of_first}; {of_run}; run both on the same data"
            )


def check_one_group(side: list[Run]) -> None:
    """Refuse runs that are not seeds of one another.

    Raises:
        K49Error: they differ in other parameters, or share a seed.
    """
    for run in side[1:]:
        others = set(differing_keys(side[0].params, run.params)) - {SEED}
        if others:
            raise K49Error(
                f"{side[0].name} and {run.name} are no group: they differ in "
                f"{', '.join(sorted(others))}, and may in {SEED} only"
            )
    seeds = [run.params.get(SEED) for run in side]
    if len(set(seeds)) < len(seeds):
        raise K49Error(
            f"{', '.join(run.name for run in side)}: no group of seeds, {SEED} is "
            f"{', '.join(map(str, seeds))}; a seed again is the same training again"
        )


def differing_keys(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]


def differing_params(a: list[Run], b: list[Run]) -> dict[str, tuple[Any, Any]]:
    """Return the parameters that differ between the sides; a group's seeds as a list."""
    first, last = a[0].params, b[0].params
    params = {key: (first.get(key), last.get(key)) for key in differing_keys(first, last)}
    of_a, of_b = ([run.params.get(SEED) for run in side] for side in (a, b))
    if of_a != of_b:
        params[SEED] = (of_a[0] if len(of_a) == 1 else of_a, of_b[0] if len(of_b) == 1 else of_b)
    return params


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
        right: the diagonal, correctly read images, or else the confusions.
    """
    counts = [mean_confusion(side) for side in (a, b)]
    classes = b[0].test.classes
    images = np.bincount(b[0].test.labels, minlength=len(classes))
    cells = zip(*np.nonzero(counts[0] != counts[1]), strict=True)
    changed = [
        Change(classes[i], classes[j], int(images[i]), *(float(count[i, j]) for count in counts))
        for i, j in cells
        if (i == j) == right
    ]
    return sorted(changed, key=lambda change: -abs(change.b - change.a))


def mean_confusion(side: list[Run]) -> np.ndarray:
    """Return the confusion matrix (C, C) of a side: images, a mean over its runs."""
    classes = len(side[0].test.classes)
    total = np.zeros((classes, classes))
    for run in side:
        np.add.at(total, (run.test.labels, run.test.predicted), 1)
    return total / len(side)
