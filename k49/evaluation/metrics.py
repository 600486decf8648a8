"""Probabilities against labels: metrics with intervals, confusion, figures of each class."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import (
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    recall_score,
    top_k_accuracy_score,
)

from k49.data import NUM_CLASSES, pieces
from k49.data.classes import CHARACTERS, code_point
from k49.settings import Evaluate

ALL_CLASSES = np.arange(NUM_CLASSES)


@dataclass(frozen=True)
class Evaluation:
    """What predictions on test are worth."""

    # as `metrics` returns it, with `test_` before each name; two of them with predictions that are
    # averaged over shifts (`test_tta_`, of test-time augmentation); and `val_minus_test`
    metrics: dict
    confusion: list[dict]
    per_class: list[dict]

    def __str__(self) -> str:
        lines = []
        for name in [name for name in self.metrics if f"{name}_low" in self.metrics]:
            low, high = self.metrics[f"{name}_low"], self.metrics[f"{name}_high"]
            interval = f"(95 % interval {low:.4f} to {high:.4f})"
            lines.append(f"  {name:26} {self.metrics[name]:.4f}  {interval}")
        return "\n".join([*lines, f"  {'val_minus_test':26} {self.metrics['val_minus_test']:.4f}"])


def evaluate(
    probabilities: np.ndarray,
    averaged: np.ndarray | None,
    labels: np.ndarray,
    val_accuracy: float,
    config: Evaluate,
) -> Evaluation:
    """Evaluate predictions on test.

    Args:
        probabilities: (N, 49), rows sum to 1.
        averaged: (N, 49), the same averaged over shifts of the images, to stand beside; or None.
        labels: (N,) integers, 0 to 48.
        val_accuracy: the same model's, to compare with.
        config: of the bootstrap.
    """
    found = metrics(probabilities, labels, config.resamples, config.seed)
    named = {f"test_{name}": value for name, value in found.items()}
    if averaged is not None:
        beside = metrics(averaged, labels, config.resamples, config.seed)
        named |= {
            f"test_tta_{name}{bound}": beside[f"{name}{bound}"]
            for name in ("accuracy", "balanced_accuracy")
            for bound in ("", "_low", "_high")
        }
    named["val_minus_test"] = round(val_accuracy - found["accuracy"], 6)
    return Evaluation(named, confusion(probabilities, labels), per_class(probabilities, labels))


def metrics(
    probabilities: np.ndarray, labels: np.ndarray, resamples: int, seed: int
) -> dict[str, float]:
    """Shares, each with the bounds of its 95 % interval (`_low`, `_high`), and the loss.

    `balanced_accuracy` (mean recall of the classes) is what the dataset's authors ask for on K49.
    Classes without an image in `labels` are left out of the two means, not counted as zero.
    Intervals: Wilson's for accuracy and top_3_accuracy, bootstrap percentiles over the images for
    balanced_accuracy and macro_f1.

    Args:
        probabilities: (N, 49), rows sum to 1.
        labels: (N,) integers, 0 to 48.
        resamples: bootstrap samples.
        seed: of the bootstrap.
    """
    predicted = probabilities.argmax(1)
    present = np.unique(labels)
    counts = confusion_matrix(labels, predicted, labels=ALL_CLASSES)
    top_3, loss = sums(probabilities, labels)
    shares = {
        "accuracy": np.mean(predicted == labels),
        "balanced_accuracy": recall_score(labels, predicted, **mean_of(present)),
        "macro_f1": f1_score(labels, predicted, **mean_of(present)),
        "top_3_accuracy": top_3 / len(labels),
    }
    intervals: dict[str, Any] = {
        "accuracy": wilson(shares["accuracy"], len(labels)),
        "top_3_accuracy": wilson(shares["top_3_accuracy"], len(labels)),
        **bootstrap(counts, resamples, seed),
    }
    result: dict[str, float] = {}
    for name, share in shares.items():
        low, high = intervals[name]
        result |= {name: share, f"{name}_low": low, f"{name}_high": high}
    result["loss"] = loss / len(labels)
    return {name: round(float(value), 6) for name, value in result.items()}


def sums(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Images whose class is among the three most probable; sum of the losses.

    A piece at a time: scikit-learn makes several copies in float64.
    """
    top_3 = loss = 0.0
    for piece in pieces(len(labels)):
        # the rows of float32 sum to 1 only within its precision, which log_loss would warn of
        exact = probabilities[piece].astype(np.float64)
        exact /= exact.sum(1, keepdims=True)
        judged = {"labels": ALL_CLASSES, "normalize": False}
        top_3 += top_k_accuracy_score(labels[piece], exact, k=3, **judged)
        loss += log_loss(labels[piece], exact, **judged)
    return top_3, loss


def mean_of(present: np.ndarray) -> dict:
    """scikit-learn's arguments for the plain mean over the classes in `present`."""
    return {"labels": present, "average": "macro", "zero_division": 0}


def wilson(share: float, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (E. B. Wilson, 1927, doi:10.2307/2276774)."""
    return binomtest(round(share * images), images).proportion_ci(method="wilson")


def bootstrap(counts: np.ndarray, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """95 % percentile intervals of the two means over classes, images drawn with replacement.

    Drawing images is drawing cells of the confusion matrix (49, 49), which is much cheaper.
    """
    rng = np.random.default_rng(seed)
    cells = counts.ravel() / counts.sum()
    recall, f1 = [], []
    for _ in range(resamples):  # one at a time: all at once would take resamples x 2401 numbers
        drawn = rng.multinomial(counts.sum(), cells).reshape(counts.shape)
        hits, true, predicted = drawn.diagonal(), drawn.sum(1), drawn.sum(0)
        present = true > 0
        recall.append(np.mean(hits[present] / true[present]))
        f1.append(np.mean(2 * hits[present] / (true + predicted)[present]))
    bounds = {"balanced_accuracy": recall, "macro_f1": f1}
    return {name: np.percentile(values, [2.5, 97.5]) for name, values in bounds.items()}


def confusion(probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """A row for each pair of classes that occurs: images of `true` read as `predicted`.

    In the order of the classes; `share` is of the images of `true`.
    """
    counts = confusion_matrix(labels, probabilities.argmax(1), labels=ALL_CLASSES)
    return [
        {
            "true": CHARACTERS[i],
            "predicted": CHARACTERS[j],
            "images": int(counts[i, j]),
            "share": round(float(counts[i, j] / counts[i].sum()), 4),
        }
        for i, j in zip(*counts.nonzero(), strict=True)
    ]


def per_class(probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """A row for each class that occurs in `labels`: images, precision, recall and F1."""
    present = np.unique(labels)
    columns = precision_recall_fscore_support(
        labels, probabilities.argmax(1), labels=present, zero_division=0
    )
    return [
        {
            "character": CHARACTERS[label],
            "code_point": code_point(label),
            "images": int(images),
            "precision": round(float(precision), 4),
            "recall": round(float(recall), 4),
            "f1": round(float(f1), 4),
        }
        for label, precision, recall, f1, images in zip(present, *columns, strict=True)
    ]
