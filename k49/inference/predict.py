"""The likeliest classes of images."""

from collections.abc import Sequence

import numpy as np

from k49.data.characters import code_point
from k49.inference.models import Model


def predict(model: Model, images: np.ndarray, top: int) -> list[list[dict]]:
    """Return the `top` likeliest classes of each image, likeliest first.

    Averaged over as many shifts of the image as the model file says. Each is marked `uncertain`
    where the likeliest one is, and `outlier` where the image is unlike all training images.

    Args:
        model: opened.
        images: (N, H, W, 1) uint8, light ink on black.
        top: how many classes; all, if there are fewer.

    Raises:
        K49Error: as `Model.read`.
    """
    read = model.read(images)
    return [
        [
            {**candidate, "uncertain": bool(read.uncertain[i]), "outlier": bool(read.outlier[i])}
            for candidate in best(row, model.dataset.classes, top)
        ]
        for i, row in enumerate(read.probabilities)
    ]


def describe(model: Model) -> list[str]:
    """Say how a model was trained, in a line, and what its data warn of."""
    provenance = model.provenance
    config, dataset = provenance.training, provenance.dataset
    lines = [
        f"{model.path}: trained on {dataset.name}; {config.hyperparameters.network} of "
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
