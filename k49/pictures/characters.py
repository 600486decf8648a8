"""From a picture to images as networks read them: one for each character, cut to its ink."""

from itertools import pairwise

import numpy as np
from PIL import Image
from scipy import ndimage

from k49.pictures.clutter import Box, bounds
from k49.pictures.colour import LUMINANCE
from k49.pictures.ink import Ink, find_ink
from k49.pictures.scaling import resized, scale

FINER = 4  # times the image's size at which ink is sharpened,
SHARPEN, REACH = 3.0, 0.06  # ... by how much, with means over this share of the longer side,
CEILING = 1.2  # ... to this share of the strokes' own darkness at most
BLURRED = np.array([0.045, 0.06])  # reach of edges, as a share: from here on a bit, and fully
BORDER = 2  # pixels around the ink, at most, of a picture that is cut to its ink already
# Characters stand apart from each other by this share of their size at least, ...
GAP = 0.2
LEAST = 0.5  # ... none is shorter than this share of the longest, ...
COLUMN, ROW = 1.6, 2.4  # ... and two of them are so much longer than wide, or wider than long.
# (Of real single characters these cut 0.3 %. Rows are harder: は and い have parts side by side.)
WIDE = 2.2  # は in its form 八 may be as wide, and so may い
LONGEST = 2.5  # times as long as wide, or as wide as long: more may be several that touch
MANY_PARTS = 6  # more separate strokes than a character has


def characters(
    picture: np.ndarray, size: tuple[int, int], extent: float = 1.0
) -> tuple[list[np.ndarray], str]:
    """Cut the characters out of a picture: of a column from the top, of a row from the left.

    Each is cut to its ink, as K49's are: it is as large as fits into `size`, or by `extent`
    smaller, centred, and the contrast is full.

    Args:
        picture: (H, W) grey or (H, W, 3) colours, 0 to 255; ink is darker than the paper, or
            lighter.
        size: height and width of the images to make.
        extent: share of the longer side that ink takes up: 1 fills the image; MNIST's 20 of 28
            pixels are 0.71.

    Returns:
        Images of that size, uint8, light ink on black; and a note on doubts, or "".

    Raises:
        NoInkError: there is no ink.
    """
    ink = find_ink(picture)
    if is_cut(picture, ink.mask, size, extent):
        return [as_it_is(picture, ink)], ""
    parts = boxes(ink.mask)
    notes = [f"left out: {', '.join(ink.left_out)}"] if ink.left_out else []
    if len(parts) == 1 and not is_one(ink.mask):
        notes.append("may hold several characters, read as one")
    return [fit(ink.strength[box], size, extent) for box in parts], "; ".join(notes)


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


def boxes(mask: np.ndarray) -> list[Box]:
    """Return the box of each character of a column or row; one box if they don't stand clear."""
    whole = bounds(mask)
    inside = mask[whole]
    height, width = inside.shape
    if height < COLUMN * width and width < ROW * height:
        return [whole]
    down = height > width
    runs = segments(inside if down else inside.T)
    parts = [(slice(*run), slice(None)) if down else (slice(None), slice(*run)) for run in runs]
    return [within(within(bounds(inside[part]), part), whole) for part in parts]


def segments(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and last row (exclusive) of each character in a column."""
    edges = np.flatnonzero(np.diff(mask.any(1), prepend=False, append=False))
    runs = [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]

    def size(run: tuple[int, int]) -> int:
        return max(run[1] - run[0], int(np.ptp(np.flatnonzero(mask[slice(*run)].any(0)))) + 1)

    while len(runs) > 1:
        sizes = [size(run) for run in runs]
        gaps = [after[0] - before[1] for before, after in pairwise(runs)]
        near, small = int(np.argmin(gaps)), int(np.argmin(sizes))
        if gaps[near] < GAP * max(mask.shape[1], np.median(sizes)):
            first = near  # parts of one character
        elif sizes[small] < LEAST * max(sizes):
            above = small > 0 and (small == len(gaps) or gaps[small - 1] <= gaps[small])
            first = small - 1 if above else small
        else:
            break
        runs[first : first + 2] = [(runs[first][0], runs[first + 1][1])]
    return runs


def is_one(mask: np.ndarray) -> bool:
    """Return whether a mask that can't be cut probably shows a single character."""
    inside = mask[bounds(mask)]
    height, width = inside.shape
    columns = len(segments(inside.T))
    if max(height, width) > LONGEST * min(height, width):
        return False
    if len(segments(inside)) > 1 or columns > 2 or (columns == 2 and width > WIDE * height):
        return False
    side = max(inside.shape)
    grown = ndimage.binary_dilation(np.pad(inside, 1), iterations=max(side // 50, 1))
    spots = ndimage.find_objects(ndimage.label(grown)[0])
    extents = [max(part.stop - part.start for part in spot) for spot in spots]
    return sum(extent >= side / 12 for extent in extents) <= MANY_PARTS


def within(box: Box, outer: Box) -> Box:
    """Return a box, given in the coordinates of `outer`, in those of the picture."""
    rows, columns = (
        slice(inner.start + (around.start or 0), inner.stop + (around.start or 0))
        for inner, around in zip(box, outer, strict=True)
    )
    return rows, columns


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
