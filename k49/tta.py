"""Test-time augmentation: probabilities averaged over copies of an image, moved by some pixels."""

from collections.abc import Callable, Iterator

import numpy as np


def averaged(
    predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, shifts: int
) -> np.ndarray:
    """Return the mean of what `predict` says of images moved by up to `shifts` pixels, both ways.

    Args:
        predict: from images to probabilities (N, C).
        images: (N, H, W, 1) uint8, that fit into memory at once.
        shifts: nine copies with 1; with 0 the image alone.
    """
    return plain_and_averaged(predict, images, shifts)[1]


def plain_and_averaged(
    predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, shifts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `predict` says of the images, which are one of their copies, and `averaged`."""
    of_copies = [predict(copy) for copy in copies(images, shifts)]
    return of_copies[len(of_copies) // 2], np.mean(of_copies, axis=0)


def copies(images: np.ndarray, shifts: int) -> Iterator[np.ndarray]:
    """Return the moved copies of images, black where nothing is known."""
    _, height, width, _ = images.shape
    ways = range(2 * shifts + 1)
    padded = np.pad(images, ((0, 0), (shifts, shifts), (shifts, shifts), (0, 0)))
    return (
        padded[:, down : down + height, right : right + width] for down in ways for right in ways
    )


def sharpen(probabilities: np.ndarray, exponent: float) -> np.ndarray:
    """Return probabilities (N, C) to the power of `exponent`, each row made to sum to 1 again."""
    if exponent == 1:
        return probabilities
    # relative to the largest, which would otherwise vanish, too, in a row with a large exponent
    powers = (probabilities / probabilities.max(1, keepdims=True)) ** np.float32(exponent)
    return powers / powers.sum(1, keepdims=True)
