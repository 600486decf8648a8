"""Which class a model reads in each image, and how sure it is: some bytes, small enough for git.

Images stand in the order of their classes (and of the split, within a class), so that the labels
are counts, one a class, and git packs a few KB: mostly the same byte after the same byte.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from pydantic import TypeAdapter, ValidationError

from k49.data import Dataset, chunks
from k49.data.arrays import read_small
from k49.errors import K49Error
from k49.evaluation.probabilities import brier, nll
from k49.io import atomic_write
from k49.settings import Classes

CLASSES: TypeAdapter[list[str]] = TypeAdapter(Classes)
LEAST, MOST = 1e-6, 300.0  # of a score; a byte has 256 steps between them, each 1.08 of the last


@dataclass(frozen=True)
class Scores:
    """How good each image's probabilities are, within 4 %; doubt's odds, which is within 0.01."""

    doubt: np.ndarray  # (N,) 1 minus the probability of the class that is read
    nll: np.ndarray  # (N,) of the true class
    brier: np.ndarray | None = None  # (N,); older runs' validation has none


@dataclass(frozen=True)
class Opinion:
    """What is read with the probabilities that `k49 predict` uses, averaged over shifts."""

    predicted: np.ndarray  # (N,) uint8
    doubt: np.ndarray  # (N,) as in `Scores`
    nll: np.ndarray  # (N,) likewise


@dataclass(frozen=True)
class Predictions:
    """The classes that a model predicts for the images of one split."""

    labels: np.ndarray  # (N,) uint8, from 0, ascending
    predicted: np.ndarray  # (N,) uint8, from 0, of the same images
    images: str  # SHA-256 of images and labels: only predictions of the same can be compared
    classes: tuple[str, ...]  # their names
    scores: Scores | None = None  # of the same images; of test
    opinion: Opinion | None = None  # older runs' validation has none

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> np.ndarray:
        """Return which images are read correctly, (N,) bool."""
        return self.labels == self.predicted


def of_split(
    split: Dataset,
    probabilities: np.ndarray,
    averaged: np.ndarray | None,
    classes: Sequence[str],
    with_scores: bool = True,
) -> Predictions:
    """Return what a model reads in the images of a split, and how good its probabilities are.

    The class takes a byte an image, scores and opinion three each.

    Args:
        split: its images and labels.
        probabilities: (N, C), in the order of the split.
        averaged: (N, C), the same averaged over shifts; None: `k49 predict` doesn't average.
        classes: their names.
        with_scores: whether to keep how good the probabilities are.
    """
    labels, predicted = split.labels.argmax(1), probabilities.argmax(1)
    order = np.argsort(labels, kind="stable")
    scores = None
    if with_scores:
        scores = Scores(
            doubt=1 - probabilities.max(1)[order],
            nll=nll(probabilities, labels)[order],
            brier=brier(probabilities, labels)[order],
        )
    used = probabilities if averaged is None else averaged
    opinion = Opinion(
        predicted=used.argmax(1)[order].astype(np.uint8),
        doubt=1 - used.max(1)[order],
        nll=nll(used, labels)[order],
    )
    return Predictions(
        labels=labels[order].astype(np.uint8),
        predicted=predicted[order].astype(np.uint8),
        images=fingerprint(split),
        classes=tuple(classes),
        scores=scores,
        opinion=opinion,
    )


def fingerprint(split: Dataset) -> str:
    """Return the SHA-256 of a split's images and labels, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in (split.images, split.labels):
        for chunk in chunks(len(array)):
            digest.update(array[chunk].tobytes())
    return digest.hexdigest()


def save(predictions: Predictions, path: Path) -> None:
    """Write an .npz that is the same bytes every time; git compresses it."""
    counts = np.bincount(predictions.labels, minlength=len(predictions.classes)).astype("<u4")
    arrays = {
        "predicted": predictions.predicted,
        "counts": counts,
        "images": np.array(predictions.images),
        "classes": np.array(predictions.classes),
    }
    if predictions.scores is not None:
        scores = predictions.scores
        of_scores = (scores.nll,) if scores.brier is None else (scores.nll, scores.brier)
        arrays["scores"] = as_bytes(scores.doubt, *of_scores)
    if (opinion := predictions.opinion) is not None:
        arrays["opinion"] = np.vstack([opinion.predicted, as_bytes(opinion.doubt, opinion.nll)])
    with atomic_write(path) as tmp:
        np.savez(tmp, allow_pickle=False, **arrays)


def as_bytes(doubt: np.ndarray, *scores: np.ndarray) -> np.ndarray:
    """Return doubt and scores as uint8, a row each, on a logarithmic scale."""
    odds = doubt / np.maximum(1 - doubt, 1 / MOST)
    values = np.stack([odds, *scores]).clip(LEAST, MOST)
    return np.rint(255 * np.log(values / LEAST) / np.log(MOST / LEAST)).astype(np.uint8)


def from_bytes(content: np.ndarray) -> list[np.ndarray]:
    """Return doubt and scores; the inverse of `as_bytes`, but for its rounding."""
    odds, *scores = LEAST * np.exp(content / 255 * np.log(MOST / LEAST))
    return [odds / (1 + odds), *scores]


def load(file: IO[bytes], name: str) -> Predictions:
    """Read what `save` wrote.

    Args:
        file: opened for reading.
        name: what errors call it.

    Raises:
        K49Error: it is something else.
    """
    arrays = read_small(file, name)
    try:
        predicted, counts, images, names = (
            arrays[key] for key in ("predicted", "counts", "images", "classes")
        )
        classes = CLASSES.validate_python(names.tolist())
        if counts.dtype.kind not in "iu" or counts.shape != (len(classes),) or counts.min() < 0:
            raise ValueError("no number of images for each class")
        images_in_all = sum(counts.tolist())  # Python's, which never overflow
        if predicted.dtype != np.uint8 or predicted.shape != (images_in_all,):
            raise ValueError("arrays don't fit together")
        if images.dtype.kind != "U" or images.ndim:
            raise ValueError("no fingerprint of the images")
        if not len(predicted) or predicted.max() >= len(classes):
            raise ValueError("no images, or classes that have no name")
        scores = arrays.get("scores", np.empty((3, len(predicted)), np.uint8))
        if scores.dtype != np.uint8 or scores.shape not in {(n, len(predicted)) for n in (2, 3)}:
            raise ValueError("no two or three scores for each image")
        opinion = arrays.get("opinion", np.zeros((3, len(predicted)), np.uint8))
        if opinion.dtype != np.uint8 or opinion.shape != (3, len(predicted)):
            raise ValueError("no opinion on each image")
        if opinion[0].max() >= len(classes):
            raise ValueError("opinions name classes that have no name")
    except (ValueError, KeyError, OverflowError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise K49Error(f"{name}: not predictions as stage evaluate writes them: {why}") from error
    labels = np.repeat(np.arange(len(classes), dtype=np.uint8), counts)
    of_images = Scores(*from_bytes(scores)) if "scores" in arrays else None
    known = Opinion(opinion[0], *from_bytes(opinion[1:])) if "opinion" in arrays else None
    if known is None and of_images is not None:  # an older run
        known = Opinion(predicted, of_images.doubt, of_images.nll)
    return Predictions(labels, predicted, str(images), tuple(classes), of_images, known)
