"""Probabilities against labels: metrics with intervals, confusion, figures of each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import (
    confusion_matrix,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from k49.data import chunks
from k49.evaluation.probabilities import ModelOutput, doubts, summary
from k49.settings import Evaluate
from k49.text import code_point

METRIC_NAMES = {  # for people: in the model card, in comparisons
    "test_accuracy": "accuracy",
    "test_balanced_accuracy": "balanced accuracy",
    "test_macro_f1": "macro F1",
    "test_top_3_accuracy": "top-3 accuracy",
    "test_tta_accuracy": "accuracy, TTA",
    "test_tta_balanced_accuracy": "balanced accuracy, TTA",
    "val_minus_test": "validation minus test",
    "overfitting_gap": "overfitting gap",
    "test_ece": "expected calibration error",
    "test_nll": "negative log-likelihood",
    "test_brier": "Brier score",
}
MEANS = ("accuracy", "balanced_accuracy", "macro_f1")
AVERAGED = (  # of predictions averaged over shifts
    *(
        f"{name}{bound}"
        for name in ("accuracy", "balanced_accuracy")
        for bound in ("", "_low", "_high")
    ),
    *("nll", "ece", "brier"),
)


@dataclass(frozen=True)
class Evaluation:
    # as `metrics` returns it, with `test_` before each name; some of them with predictions that
    # are averaged over shifts (`test_tta_`, of test-time augmentation); and what `doubts` returns
    metrics: dict

    def __str__(self) -> str:
        lines = []
        for name in [name for name in self.metrics if f"{name}_low" in self.metrics]:
            low, high = self.metrics[f"{name}_low"], self.metrics[f"{name}_high"]
            interval = f"(95 % interval {low:.4f} to {high:.4f})"
            lines.append(f"  {name:26} {self.metrics[name]:.4f}  {interval}")
        for name in ("test_ece", "test_tta_ece", "val_minus_test"):
            if name in self.metrics:
                lines.append(f"  {name:26} {self.metrics[name]:.4f}")
        return "\n".join(lines)


def evaluate(
    output: ModelOutput, labels: np.ndarray, val_accuracy: float, config: Evaluate
) -> Evaluation:
    """Evaluate predictions on test.

    Args:
        output: predictions for the images.
        labels: (N,) integers, 0 to C - 1.
        val_accuracy: the same model's, to compare with.
        config: of the bootstrap.
    """
    plain = metrics(output.probabilities, labels, config.resamples, config.seed)
    named = {f"test_{name}": value for name, value in plain.items()}
    if output.averaged is not None:
        averaged = metrics(output.averaged, labels, config.resamples, config.seed)
        named |= {f"test_tta_{name}": averaged[name] for name in AVERAGED}
    before = summary(output.uncalibrated, labels)
    named |= {f"test_uncalibrated_{name}": round(value, 6) for name, value in before.items()}
    named |= doubts(output, labels)
    named["val_minus_test"] = round(val_accuracy - plain["accuracy"], 6)
    return Evaluation(named)


def metrics(
    probabilities: np.ndarray, labels: np.ndarray, resamples: int, seed: int
) -> dict[str, float]:
    """Return shares, most with the bounds of a 95 % interval (`_low`, `_high`), and `summary`.

    The dataset's authors ask for `balanced_accuracy` (mean recall of the classes) on K49.
    Classes without an image in `labels` are left out of the two means, not counted as zero.
    Intervals: Wilson's for accuracy and top_3_accuracy, bootstrap percentiles over the images for
    balanced_accuracy and macro_f1.

    Args:
        probabilities: (N, C), rows sum to 1.
        labels: (N,) integers, 0 to C - 1.
        resamples: bootstrap samples.
        seed: of the bootstrap.
    """
    predicted = probabilities.argmax(1)
    top_3 = top_3_accuracy(probabilities, labels)
    shares = {**accuracy_and_f1(labels, predicted), "top_3_accuracy": top_3}
    drawn = bootstrap(labels, predicted[np.newaxis], resamples, seed)
    intervals: dict[str, Any] = {name: np.percentile(drawn[name], [2.5, 97.5]) for name in drawn}
    for name in ("accuracy", "top_3_accuracy"):
        intervals[name] = wilson(shares[name], len(labels))
    result: dict[str, float] = {}
    for name, share in shares.items():
        result[name] = share
        if name in intervals:
            result[f"{name}_low"], result[f"{name}_high"] = intervals[name]
    result |= summary(probabilities, labels)
    return {name: round(float(value), 6) for name, value in result.items()}


def top_3_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose class is among the three most probable.

    A chunk at a time: scikit-learn makes several copies in float64.
    """
    if probabilities.shape[1] <= 3:  # which scikit-learn warns of
        return 1.0
    options: dict[str, Any] = {"labels": np.arange(probabilities.shape[1]), "normalize": False}
    parts = chunks(len(labels))
    return sum(
        top_k_accuracy_score(labels[part], probabilities[part], k=3, **options) for part in parts
    ) / len(labels)


def accuracy_and_f1(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return accuracy, balanced accuracy and macro F1 of predictions (N,).

    Whatever is added here is a metric; it has an interval, and `k49 compare` shows it, once it is
    also in `MEANS` and `bootstrap` gives it.
    """
    _, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
    )
    accuracy = float(np.mean(predicted == labels))
    return {"accuracy": accuracy, "balanced_accuracy": float(recall), "macro_f1": float(f1)}


def wilson(share: float, images: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (E. B. Wilson, 1927, doi:10.2307/2276774)."""
    return binomtest(round(share * images), images).proportion_ci(method="wilson")


def bootstrap(
    labels: np.ndarray, predicted: np.ndarray, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Return metrics of several models on the same bootstrap samples of the images.

    Drawing images is drawing from the combinations of label and predictions that occur, which are
    few: much cheaper (B. Efron, 1979, doi:10.1214/aos/1176344552).

    Args:
        labels: (N,) integers, from 0.
        predicted: (models, N), the class that each model predicts for each image.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Returns:
        `accuracy`, `balanced_accuracy` and `macro_f1`, each (models, resamples).
    """
    cells, counts = np.unique(np.vstack([labels, predicted]), axis=1, return_counts=True)
    one_hot = np.eye(cells.max() + 1)
    true_class, predicted_classes = one_hot[cells[0]], one_hot[cells[1:]]
    rng = np.random.default_rng(seed)
    result = {name: np.empty((len(predicted_classes), resamples)) for name in MEANS}
    for chunk in (slice(first, first + 100) for first in range(0, resamples, 100)):
        size = min(100, resamples - chunk.start)
        drawn = rng.multinomial(len(labels), counts / len(labels), size).astype(float)
        true = drawn @ true_class  # (size, C), images of each class
        present, classes = true > 0, np.count_nonzero(true, axis=1)
        for model, predicted_class in enumerate(predicted_classes):
            hits, claimed = drawn @ (true_class * predicted_class), drawn @ predicted_class
            recall = np.divide(hits, true, out=np.zeros_like(hits), where=present)
            f1 = np.divide(2 * hits, true + claimed, out=np.zeros_like(hits), where=present)
            result["accuracy"][model, chunk] = hits.sum(1) / len(labels)
            result["balanced_accuracy"][model, chunk] = recall.sum(1) / classes
            result["macro_f1"][model, chunk] = f1.sum(1) / classes
    return result


def confusion(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """Return a row for each pair of classes that occurs: images of `true` read as `predicted`.

    In the order of the classes; `share` is of the images of `true`.
    """
    counts = confusion_matrix(labels, probabilities.argmax(1), labels=np.arange(len(classes)))
    return [
        {
            "true": classes[i],
            "predicted": classes[j],
            "images": int(counts[i, j]),
            "share": round(float(counts[i, j] / counts[i].sum()), 4),
            "true_label": int(i),  # by which the chart sorts
            "predicted_label": int(j),
        }
        for i, j in zip(*counts.nonzero(), strict=True)
    ]


def per_class(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """Return a row for each class that occurs in `labels`: images, precision, recall and F1.

    Recall has the bounds of Wilson's 95 % interval.
    """
    present = np.unique(labels)
    columns = precision_recall_fscore_support(
        labels, probabilities.argmax(1), labels=present, zero_division=0
    )
    _, recalls, _, numbers = columns
    intervals = [wilson(recall, int(n)) for recall, n in zip(recalls, numbers, strict=True)]
    return [
        {
            "character": classes[label],
            "code_point": code_point(classes[label]),
            "images": int(images),
            "precision": round(float(precision), 4),
            "recall": round(float(recall), 4),
            "recall_low": round(low, 4),
            "recall_high": round(high, 4),
            "f1": round(float(f1), 4),
        }
        for label, precision, recall, f1, images, (low, high) in zip(
            present, *columns, intervals, strict=True
        )
    ]
