"""The likeliest classes of images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from k49.data.characters import code_point
from k49.errors import K49Error, is_out_of_memory
from k49.provenance import of_k49s_form, read_detector, read_provenance
from k49.settings import DatasetInfo, Provenance
from k49.shown import printable


def dataset_of(model: Path) -> DatasetInfo:
    """Return what a model file says of its classes and images; K49's if it says nothing."""
    return said_dataset(read_provenance(model))


def said_dataset(provenance: Provenance | None) -> DatasetInfo:
    """Return the same of what a model file says."""
    return provenance.dataset if provenance else of_k49s_form("unknown data")


def predict(model: Path, images: np.ndarray, top: int) -> list[list[dict]]:
    """Return the `top` likeliest classes of each image, likeliest first.

    Averaged over as many shifts of the image as the model file says. Each is marked `uncertain`
    where the likeliest one is, and `outlier` where the image is unlike all that the model was
    trained on; None where the model file doesn't say from where on.

    Args:
        model: a file that `save_model` wrote.
        images: (N, H, W, 1) uint8, light ink on black.
        top: how many classes; all, if there are fewer.

    Raises:
        K49Error: there is no such model, or it is of another kind, or of other classes or images
            than it says.
    """
    from k49.training.detector import outlier_scores  # Keras takes seconds: only now
    from k49.training.model import load_model, predict_proba

    provenance = read_provenance(model)
    dataset = said_dataset(provenance)
    found, detector = provenance and provenance.calibration, read_detector(model)
    shifts = provenance.shifts if provenance else 0
    loaded = load_model(model)
    takes, returns = loaded.input_shape[1:3], loaded.output_shape[-1]
    if (*takes, returns) != (*dataset.image_size, len(dataset.classes)):
        raise K49Error(
            f"{model}: takes images of {takes[0]} x {takes[1]} and returns {returns} classes, but "
            f"is said to know {len(dataset.classes)} classes in images of "
            f"{dataset.image_size[0]} x {dataset.image_size[1]}"
        )
    doubts: list[dict] = [{"uncertain": None, "outlier": None} for _ in images]
    try:
        probabilities = predict_proba(loaded, images, shifts, found.exponent if found else 1.0)
        if found and detector:
            doubts = mark(
                probabilities.max(1) < (found.averaged_certain if shifts else found.certain),
                outlier_scores(loaded, detector, images) > found.outlier,
            )
    except Exception as error:  # whatever the layers of somebody's network raise
        if is_out_of_memory(error):
            raise
        raise K49Error(f"{model}: can't be run: {printable(error, 200)}") from error
    return [
        [{**candidate, **doubt} for candidate in best(row, dataset.classes, top)]
        for row, doubt in zip(probabilities, doubts, strict=True)
    ]


def mark(uncertain: np.ndarray, outlier: np.ndarray) -> list[dict]:
    """Return what is doubtful about each image, of two arrays (N,) bool."""
    return [
        {"uncertain": bool(first), "outlier": bool(second)}
        for first, second in zip(uncertain, outlier, strict=True)
    ]


def describe(model: Path) -> list[str]:
    """Say how a model was trained, in a line, and what its data warn of."""
    provenance = read_provenance(model)
    if provenance is None:
        return [f"{model}: says nothing of what it was trained on"]
    config, dataset = provenance.training, provenance.dataset
    lines = [
        f"{model}: trained on {dataset.name}; {config.hyperparameters.network} of "
        f"{config.hyperparameters.units}, {config.hyperparameters.activation}, {config.epochs} "
        f"epochs at most, batches of {config.fit.batch_size}, dropout {config.fit.dropout}, "
        f"{'distorted images' if config.augment.enabled else 'images as they are'}"
    ]
    if provenance.shifts:
        lines[0] += f"; predictions averaged over {(2 * provenance.shifts + 1) ** 2} shifts"
    if dataset.warning:
        lines.append(f"warning: {dataset.warning}")
    return lines


def best(probabilities: np.ndarray, classes: Sequence[str], top: int) -> list[dict]:
    """Return the `top` likeliest classes of one row (C,), likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [
        {
            "character": classes[label],
            "code_point": code_point(classes[label]),
            "probability": round(float(probabilities[label]), 6),
        }
        for label in order
    ]
