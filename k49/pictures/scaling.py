"""Scaling of arrays (H, W) or (H, W, 3), in single precision, as Pillow does it."""

from collections.abc import Sequence

import numpy as np
from PIL import Image


def shrink(picture: np.ndarray, side: int) -> np.ndarray:
    """Shrink a picture to `side` pixels at most, by averaging; float64."""
    if max(picture.shape[:2]) <= side:
        return picture.astype(np.float64)
    return scale(picture, side / max(picture.shape[:2]), Image.Resampling.BOX)


def scale(picture: np.ndarray, factor: float, by: Image.Resampling) -> np.ndarray:
    """Scale a picture, (H, W) or (H, W, 3), by a factor; float64."""
    if picture.ndim == 3:
        return np.stack([scale(picture[..., c], factor, by) for c in range(3)], -1)
    height, width = (max(round(length * factor), 1) for length in picture.shape)
    return resized(picture, (height, width), by)


def resized(picture: np.ndarray, size: Sequence[int], by: Image.Resampling) -> np.ndarray:
    """Scale a picture (H, W) to a height and width; float64."""
    height, width = size
    scaled = Image.fromarray(picture.astype(np.float32)).resize((width, height), by)
    return np.asarray(scaled, np.float64)
