"""The likeliest characters of images."""

from pathlib import Path

import numpy as np

from k49.data import STANDIN_NAME
from k49.data.classes import CHARACTERS, code_point
from k49.training.model import load_model, predict_proba, read_provenance


def predict(model: Path, images: np.ndarray, top: int) -> list[list[dict]]:
    """Return the `top` likeliest characters of each image, likeliest first.

    Averaged over as many shifts of the image as the model file says.

    Args:
        model: a file that `save_model` wrote.
        images: (N, 28, 28, 1) uint8, light ink on black.
        top: how many characters, 1 to 49.

    Raises:
        K49Error: there is no such model, or it is of another kind.
    """
    provenance = read_provenance(model)
    shifts = provenance.shifts if provenance else 0
    return [best(row, top) for row in predict_proba(load_model(model), images, shifts)]


def describe(model: Path) -> list[str]:
    """Say how a model was trained, in a line, and warn if it was on the stand-in."""
    provenance = read_provenance(model)
    if provenance is None:
        return [f"{model}: says nothing of what it was trained on"]
    config = provenance.training
    lines = [
        f"{model}: trained on {provenance.dataset}; {config.hyperparameters.network} of "
        f"{config.hyperparameters.units}, {config.hyperparameters.activation}, {config.epochs} "
        f"epochs at most, batches of {config.fit.batch_size}, dropout {config.fit.dropout}, "
        f"{'distorted images' if config.augment.enabled else 'images as they are'}"
    ]
    if provenance.shifts:
        lines[0] += f"; predictions averaged over {(2 * provenance.shifts + 1) ** 2} shifts"
    if provenance.dataset == STANDIN_NAME:
        lines.append(
            "warning: the stand-in is drawn; a model trained on it can't read real Kuzushiji "
            "(dvc exp run -S data.source=k49 trains one that can)"
        )
    return lines


def best(probabilities: np.ndarray, top: int) -> list[dict]:
    """Return the `top` likeliest characters of one row (49,), likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [
        {
            "character": CHARACTERS[label],
            "code_point": code_point(label),
            "probability": round(float(probabilities[label]), 6),
        }
        for label in order
    ]
