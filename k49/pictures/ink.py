"""Where the ink is in a picture, on paper of any brightness, in any light, dark or light ink.

All is computed in float64, in which processors differ by 1e-15, and rounded at the end: a picture
becomes the same image on each of them.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_sauvola

from k49.errors import K49Error

LONGER_SIDE = 512  # pixels at which a picture is looked at: a character has 28 in the end
SMALLEST = 8  # pixels, the shorter side: with less, nothing can be told
WIDEST = 5  # no stroke is wider than this part of the picture's longer side
SPECK = 0.02  # share of the largest stroke's area below which a spot is no stroke
LEAST_CONTRAST = 8.0  # grey levels between paper and ink
LEAST_TO_NOISE = 4.0  # ink's distance from the paper, in standard deviations of the paper


class NoInkError(K49Error):
    """A picture without anything that stands out from its ground."""


@dataclass(frozen=True)
class Ink:
    strength: np.ndarray  # (H, W): share of the light that the ink takes away, 0 for paper
    mask: np.ndarray  # (H, W) bool: strokes
    light: bool  # whether the ink is lighter than the paper


def find_ink(grey: np.ndarray) -> Ink:
    """Separate ink, the foreground, from paper, the background.

    Strokes are found by Sauvola's local threshold, which was made for old paper in uneven light
    (J. Sauvola and M. Pietikäinen, 2000, doi:10.1016/S0031-3203(99)00055-2), once shadows are taken
    out: a grey closing, wider than any stroke, leaves the light alone. The paper below strokes
    is a smooth continuation of the paper around them, and the ink is how much light it takes away.

    Args:
        grey: (H, W), 0 to 255; shrunk to `LONGER_SIDE` if larger.

    Raises:
        NoInkError: too small, blank, or nothing but noise.
    """
    if min(grey.shape) < SMALLEST:
        raise NoInkError(f"too small: {grey.shape[1]} x {grey.shape[0]} pixels")
    grey = shrink(grey, LONGER_SIDE)
    light = is_light_on_dark(grey)
    grey = 255 - grey if light else grey  # from here on ink is dark
    side = max(grey.shape)
    grey, smooth = without_shadows(grey)
    dark, bright = np.percentile(smooth, [1, 99])
    if bright - dark < LEAST_CONTRAST:
        raise NoInkError("blank: there is no ink")
    window = max(side // 3, 15) | 1  # odd; wider than any stroke
    threshold = threshold_sauvola(smooth, window, k=0.2, r=(bright - dark) / 2)
    mask = remove_small_components(smooth < threshold)

    far = ~ndimage.binary_dilation(mask, iterations=max(round(side / 60), 1))
    far = far if far.mean() > 0.02 else ~mask  # ink nearly everywhere
    if not mask.any() or not far.any():
        raise NoInkError("blank: there is no ink")
    paper = extrapolate_background(smooth, far, side / 12)
    darker = paper - smooth
    noise = darker[far].std()
    contrast = darker[mask].mean()
    if contrast < max(LEAST_CONTRAST, LEAST_TO_NOISE * noise):
        raise NoInkError("no ink stands out from the paper: blank, or too noisy")
    # as a share, since less light falls on ink and paper alike
    strength = 1 - grey / np.maximum(paper, 1)
    return Ink(np.maximum(strength - 1.5 * strength[far].std(), 0), mask, light)


def without_shadows(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide a picture of dark ink by its illumination; return it, and smoothed; (H, W), to 255."""
    side = max(grey.shape)
    smooth = ndimage.gaussian_filter(grey, side / 300)
    illumination = ndimage.grey_closing(smooth, size=side // WIDEST)
    illumination = np.maximum(ndimage.gaussian_filter(illumination, side / 60), 1)
    return grey * (255 / illumination), smooth * (255 / illumination)


def shrink(grey: np.ndarray, side: int) -> np.ndarray:
    """Shrink a picture to `side` pixels at most, by averaging; (H, W) float64."""
    if max(grey.shape) <= side:
        return grey.astype(np.float64)
    return scale(grey, side / max(grey.shape), Image.Resampling.BOX)


def scale(grey: np.ndarray, factor: float, by: Image.Resampling) -> np.ndarray:
    """Scale a picture by a factor; (H, W) float64."""
    height, width = (max(round(length * factor), 1) for length in grey.shape)
    scaled = Image.fromarray(grey.astype(np.float32)).resize((width, height), by)
    return np.asarray(scaled, np.float64)


def is_light_on_dark(grey: np.ndarray) -> bool:
    """Return whether ink, the smaller part and far from the rest, is lighter than the paper."""
    small = shrink(grey, 96)
    return bool(((small - flat(small)) ** 3).sum() > 0)


def flat(grey: np.ndarray) -> np.ndarray:
    """Fit a quadratic surface, paper in uneven light, to most of a picture; the same shape.

    Fitted by least squares, again and again, to what lies near the last fit.
    """
    rows, columns = (np.linspace(-1, 1, length) for length in grey.shape)
    y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], 1)
    values, near = grey.ravel(), np.ones(grey.size, bool)
    for _ in range(6):
        weights, *_ = np.linalg.lstsq(terms[near], values[near], rcond=None)
        surface = terms @ weights
        distance = np.abs(values - surface)
        near = distance <= 2.5 * np.median(distance) + 1
    return surface.reshape(grey.shape)


def remove_small_components(mask: np.ndarray) -> np.ndarray:
    """Return the mask without connected components that are small compared with the largest."""
    labels, number = ndimage.label(mask, np.ones((3, 3)))
    if not number:
        return mask
    areas = ndimage.sum_labels(mask, labels, range(1, number + 1))
    return np.append(False, areas >= max(SPECK * areas.max(), 3))[labels]


def extrapolate_background(grey: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth the picture where it is `known`, and continue it to everywhere else."""
    weight = ndimage.gaussian_filter(known.astype(np.float64), sigma, truncate=2)
    smooth = ndimage.gaussian_filter(np.where(known, grey, 0), sigma, truncate=2)
    return np.where(weight > 1e-3, smooth / np.maximum(weight, 1e-3), np.median(grey[known]))
