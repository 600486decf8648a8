"""From a picture to images as networks read them: one for each character, cut to its ink."""

from functools import cache

import numpy as np
from PIL import Image
from scipy import ndimage

from k49.pictures.clutter import bounds
from k49.pictures.colour import LUMINANCE
from k49.pictures.ink import Ink, find_ink
from k49.pictures.layout import LAYOUT, SURER, Layout, Place, arrange, may_be_several
from k49.pictures.scaling import resized, scale
from k49.pictures.skew import find_skew, turned

FINER = 4  # times the image's size at which ink is sharpened,
SHARPEN, REACH = 3.0, 0.06  # ... by how much, with means over this share of the longer side,
CEILING = 1.2  # ... to this share of the strokes' own darkness at most
BLURRED = np.array([0.045, 0.06])  # reach of edges, as a share: from here on a bit, and fully
BORDER = 2  # pixels around the ink, at most, of a picture that is cut to its ink already


def characters(
    picture: np.ndarray, size: tuple[int, int], extent: float = 1.0, layout: Layout = LAYOUT
) -> tuple[list[np.ndarray], str]:
    """Cut the characters out of a picture, in reading order.

    Each is cut to its ink, as K49's are: it is as large as fits into `size`, or by `extent`
    smaller, centred, and the contrast is full.

    Args:
        picture: (H, W) grey or (H, W, 3) colours, 0 to 255; ink is darker than the paper, or
            lighter.
        size: height and width of the images to make.
        extent: share of the longer side that ink takes up: 1 fills the image; MNIST's 20 of 28
            pixels are 0.71.
        layout: how characters are told apart.

    Returns:
        Images of that size, uint8, light ink on black; and a note on doubts, or "".

    Raises:
        NoInkError: there is no ink.
    """
    ink = find_ink(picture)
    if is_cut(picture, ink.mask, size, extent):
        return [as_it_is(picture, ink)], ""

    score, images, several = cut_apart(ink.mask, ink.strength, size, extent, layout)
    slope = find_skew(ink.mask)
    if slope:
        mask, strength = turned(ink.mask, slope), turned(ink.strength, slope)
        other = cut_apart(mask, strength, size, extent, layout)
        if len(other[1]) > 1 and other[0] > score + SURER:
            _, images, several = other
    notes = [f"left out: {', '.join(ink.left_out)}"] if ink.left_out else []
    if several:
        which = f"[{', '.join(map(str, several))}] " if len(images) > 1 else ""
        notes.append(f"{which}may hold several characters, read as one")
    return images, "; ".join(notes)


def cut_apart(
    mask: np.ndarray, strength: np.ndarray, size: tuple[int, int], extent: float, layout: Layout
) -> tuple[float, list[np.ndarray], list[int]]:
    """Return the score of the best layout, its characters' images, and numbers of doubtful ones."""

    @cache
    def image_of(place: Place) -> np.ndarray:
        return fit(strength[place.box], size, extent)

    def images_of(places: list[Place]) -> list[np.ndarray]:
        return [image_of(place) for place in places]

    doubts = layout.doubts
    judge = (lambda places: doubts(np.stack(images_of(places)))) if doubts else None
    score, places = arrange(mask, layout.order, judge)
    return score, images_of(places), may_be_several(mask, places)


def one_character(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut a picture that is known to show one character; as `characters`."""
    ink = find_ink(picture)
    if is_cut(picture, ink.mask, size, 1.0):
        return as_it_is(picture, ink)
    return fit(ink.strength[bounds(ink.mask)], size, 1.0)


def as_it_is(picture: np.ndarray, ink: Ink) -> np.ndarray:
    """Return a picture that is cut already as an image: light ink on black, the contrast full."""
    grey = (
        picture.astype(np.float64) @ LUMINANCE if picture.ndim == 3 else picture.astype(np.float64)
    )
    return stretch_contrast(grey * (1 if ink.light else -1))


def is_cut(picture: np.ndarray, mask: np.ndarray, size: tuple[int, int], extent: float) -> bool:
    """Return whether a picture is an image already: of its size, and where ink fills it, filled."""
    if picture.shape[:2] != tuple(size):
        return False
    pixel = len(mask) / len(picture)
    margins = (whole - ink for whole, ink in zip(mask.shape, mask[bounds(mask)].shape, strict=True))
    return extent < 1 or min(margins) <= BORDER * pixel


def fit(strength: np.ndarray, size: tuple[int, int], extent: float) -> np.ndarray:
    """Scale ink to `extent` of what fits into an image of that size, on black; uint8."""
    largest = min(np.divide(size, strength.shape)) * extent
    first = min(FINER * largest, 1.0)  # sharpened at a few times the size: fast, and fine enough
    fine = sharpened(scale(strength, first, Image.Resampling.BOX) if first < 1 else strength)
    height, width = (max(round(length * largest), 1) for length in strength.shape)
    small = resized(fine, (height, width), Image.Resampling.LANCZOS)
    return stretch_contrast(np.maximum(centred(small, size, 0), 0))


def sharpened(strength: np.ndarray) -> np.ndarray:
    """Return ink with sharper edges, no darker than its strokes were, if the picture is blurred.

    By unsharp masking: what differs from the mean around it differs more. How blurred it is shows
    in how far the steepest edges reach.
    """
    side = max(strength.shape)
    strokes = strength > strength.max() / 4
    high = np.percentile(strength[strokes], 90)
    steep = np.percentile(np.hypot(*np.gradient(strength))[strokes], 90)
    blur = np.interp(high / max(steep, 1e-9) / side, BLURRED, [0, 1])
    mean = ndimage.gaussian_filter(strength, REACH * side, truncate=2)
    sharp = np.clip(strength + SHARPEN * (strength - mean), 0, CEILING * high)
    return strength + blur * (sharp - strength)


def fitted(
    values: np.ndarray, size: tuple[int, int], by: Image.Resampling, around: float
) -> np.ndarray:
    """Scale a picture so that it just fits into `size`, in the middle, filled with `around`."""
    return centred(scale(values, min(np.divide(size, values.shape)), by), size, around)


def centred(small: np.ndarray, size: tuple[int, int], around: float) -> np.ndarray:
    """Put a picture into the middle of one of that size, filled with `around`; float64."""
    image = np.full(size, around, np.float64)
    top, left = ((whole - part) // 2 for whole, part in zip(size, small.shape, strict=True))
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image


def stretch_contrast(image: np.ndarray) -> np.ndarray:
    """Stretch values to 0 to 255, uint8: after all scaling, which takes contrast away."""
    low, high = image.min(), image.max()
    return np.rint((image - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
