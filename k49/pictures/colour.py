"""From colours to the one grey in which ink and paper differ most, and the inks of a picture.

Colours are (H, W, 3), 0 to 255: red, green, blue.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from k49.pictures.scaling import shrink

LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow has it
EQUAL = 0.3  # share of the variance that luminance has, below which brightness is not what differs
LEAST_ANGLE = np.cos(np.radians(18))  # between the colours of two inks: the cosine of
LEAST_SHARE = 0.02  # of an ink in all inks
REDDER = 0.3  # how much less red a red ink takes away than green and blue, as a share


@dataclass(frozen=True)
class Colouring:
    """An ink of two."""

    direction: np.ndarray  # (3,): the share of red, green, blue that it takes away, of length 1
    unmixing: np.ndarray  # (3,): by which a pixel's share gives the amount of this ink
    darkness: float  # mean over its pixels

    def amount(self, absorbed: np.ndarray) -> np.ndarray:
        """Return the mean share of light that this ink takes away, (H, W), 0 to 1."""
        return np.clip((absorbed @ self.unmixing) * self.direction.mean(), 0, 1)

    @property
    def red(self) -> bool:
        red, green, blue = self.direction
        return bool(min(green, blue) - red > REDDER * max(self.direction))


def to_grey(colours: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return luminance; or, if ink and paper are equally bright, what differs most (H, W).

    That is the first principal component of the colours' differences from those around them.

    Returns:
        Grey, 0 to 255; and whether it is luminance.
    """
    if colours.ndim == 2:
        return colours, True
    small = shrink(colours, 32)
    away = np.stack([differences(small[..., c]) for c in range(3)], -1).reshape(-1, 3)
    covariance = away.T @ away
    variances, axes = np.linalg.eigh(covariance)
    direction = LUMINANCE / np.linalg.norm(LUMINANCE)
    if direction @ covariance @ direction >= EQUAL * variances[-1]:
        return colours @ LUMINANCE, True
    grey = colours @ (axes[:, -1] * np.sign(axes[:, -1].sum()))
    low, high = grey.min(), grey.max()
    return (grey - low) * (255 / max(high - low, 1e-6)), False


def differences(small: np.ndarray) -> np.ndarray:
    """Return how each pixel of a small picture (H, W) differs from the median around it."""
    small = np.rint(small)  # whole numbers: the same median on every processor
    return small - ndimage.median_filter(small, size=16, mode="nearest")


def inks(pixels: np.ndarray) -> list[Colouring]:
    """Tell two inks of other colours apart; the one that probably writes comes first.

    A pixel takes away a mixture of what both inks do, as in the deconvolution of stains
    (A. C. Ruifrok and D. A. Johnston, 2001).

    Args:
        pixels: (N, 3), the share of the paper's light that each takes away, of strokes.

    Returns:
        Two, or none if all ink has one colour.
    """
    lengths = np.sqrt((pixels**2).sum(1))
    directions = pixels / np.maximum(lengths, 1e-6)[:, None]
    away = (directions - np.average(directions, 0, lengths + 1e-9)) * lengths[:, None]
    first = away @ np.linalg.eigh(away.T @ away)[1][:, -1] > 0
    for _ in range(5):
        if first.all() or not first.any():
            return []
        centres = np.stack([pixels[side].sum(0) for side in (first, ~first)])
        centres /= np.maximum(np.sqrt((centres**2).sum(1)), 1e-6)[:, None]
        first = directions @ centres[0] > directions @ centres[1]
    share = lengths[first].sum() / lengths.sum()
    if not LEAST_SHARE < share < 1 - LEAST_SHARE or centres[0] @ centres[1] > LEAST_ANGLE:
        return []
    unmixing = np.linalg.pinv(centres)
    found = [
        Colouring(centres[i], unmixing[:, i], float(lengths[first == (i == 0)].mean()))
        for i in range(2)
    ]
    return sorted(found, key=lambda ink: (ink.red, -ink.darkness))
