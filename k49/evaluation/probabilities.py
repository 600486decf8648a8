"""Whether probabilities are honest: are 90 % of the predictions made at 0.9 correct?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BINS = 15
SMALLEST = np.finfo(np.float32).tiny  # probability, of which a logarithm is taken
COVERAGES = 100  # points of a curve
UNCALIBRATED, PLAIN, AVERAGED = "before calibration", "calibrated", "calibrated, TTA"


@dataclass(frozen=True)
class ModelOutput:
    """Predictions for the test images."""

    probabilities: np.ndarray  # (N, C), rows sum to 1
    averaged: np.ndarray | None  # (N, C), the same averaged over shifts of the images
    uncalibrated: np.ndarray  # (N, C), the plain ones without the model's temperature
    certain: float  # probability, of `best`, below which the model file calls it uncertain
    outliers: np.ndarray  # (N,) bool, images that the detector calls outliers

    @property
    def best(self) -> np.ndarray:
        """Return the probabilities that `k49 predict` shows, (N, C)."""
        return self.probabilities if self.averaged is None else self.averaged


def summary(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return `nll`, `ece` and `brier` of probabilities (N, C) for labels (N,); lower is better."""
    chosen, right = confidence(probabilities, labels)
    return {
        "nll": float(nll(probabilities, labels).mean()),
        "ece": ece(chosen, right),
        "brier": float(brier(probabilities, labels).mean()),
    }


def confidence(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of the likeliest class, and whether that is right; both (N,)."""
    return probabilities.max(1), probabilities.argmax(1) == labels


def nll(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the negative log-likelihood of each label, (N,), in nats."""
    true = probabilities[np.arange(len(labels)), labels].astype(float)
    return -np.log(np.maximum(true, SMALLEST))


def brier(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each image's squared distance from its one-hot label, (N,), 0 to 2.

    (G. W. Brier, 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2)
    """
    true = probabilities[np.arange(len(labels)), labels].astype(float)
    return np.square(probabilities, dtype=float).sum(1) - 2 * true + 1


def ece(chosen: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error: the difference of probability and accuracy.

    The mean over BINS bins of equally many images (J. Nixon et al., 2019, arXiv:1904.01685).

    Args:
        chosen: (N,) the probability of what was read.
        right: (N,) bool, whether that is right.
    """
    differences = [abs((chosen[rows] - right[rows]).sum()) for rows in bins(chosen)]
    return float(sum(differences) / len(chosen))


def bins(chosen: np.ndarray) -> list[np.ndarray]:
    """Return which images are in each bin of equally many, from the least probable on."""
    return [rows for rows in np.array_split(np.argsort(chosen, kind="stable"), BINS) if len(rows)]


def reliability(chosen: np.ndarray, right: np.ndarray) -> list[dict]:
    """Return a row for each bin of `ece`: images, mean `confidence`, and `accuracy`."""
    return [
        {
            "confidence": round(float(chosen[rows].mean()), 4),
            "accuracy": round(float(right[rows].mean()), 4),
            "images": len(rows),
        }
        for rows in bins(chosen)
    ]


def coverage(chosen: np.ndarray, right: np.ndarray) -> list[dict]:
    """Return a row for each share of images that are read, the surest ones: how many are right.

    (Y. Geifman and R. El-Yaniv, 2017, arXiv:1705.08500)
    """
    order = np.argsort(-chosen, kind="stable")
    chosen, right = chosen[order], right[order]
    so_far = right.cumsum() / np.arange(1, len(right) + 1)
    counts = np.unique(-(-np.arange(1, COVERAGES + 1) * len(right) // COVERAGES))  # rounded up
    return [
        {
            "coverage": round(float(images / len(right)), 4),
            "accuracy": round(float(so_far[images - 1]), 4),
            "probability": round(float(chosen[images - 1]), 4),
        }
        for images in counts
    ]


def doubts(output: ModelOutput, labels: np.ndarray) -> dict[str, float]:
    """Return the shares of images that are marked as doubtful.

    `test_coverage` of the images are not uncertain, `test_selective_accuracy` of these are read
    correctly, and `test_outliers` are called outliers, although none of them is one.
    """
    chosen, right = confidence(output.best, labels)
    certain = chosen >= output.certain
    shares = {
        "test_coverage": certain.mean(),
        "test_selective_accuracy": right[certain].mean() if certain.any() else 1.0,
        "test_outliers": output.outliers.mean(),
    }
    return {name: round(float(share), 6) for name, share in shares.items()}


def reliabilities(output: ModelOutput, labels: np.ndarray) -> list[dict]:
    """Return the rows of `reliability` before and after calibration, and averaged over shifts."""
    return curves(output, labels, reliability, uncalibrated=True)


def coverages(output: ModelOutput, labels: np.ndarray) -> list[dict]:
    """Return the rows of `coverage` of one image, and averaged over shifts."""
    return curves(output, labels, coverage, uncalibrated=False)


def curves(
    output: ModelOutput, labels: np.ndarray, curve: Callable[..., list[dict]], uncalibrated: bool
) -> list[dict]:
    """Return the rows of a curve for several probabilities of the same images."""
    several = {
        UNCALIBRATED: output.uncalibrated if uncalibrated else None,
        PLAIN: output.probabilities,
        AVERAGED: output.averaged,
    }
    return [
        {"probabilities": name, **row}
        for name, probabilities in several.items()
        if probabilities is not None
        for row in curve(*confidence(probabilities, labels))
    ]
