"""Where the ink is in a picture, on paper of any brightness, in any light, dark or light ink.

All is computed in float64, in which processors differ by 1e-15, and rounded at the end: a picture
becomes the same image on each of them.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from k49.errors import K49Error
from k49.pictures.clutter import (
    bounds,
    extent_of,
    remove_clutter,
    without_lines,
    without_thin,
)
from k49.pictures.colour import differences, inks, to_grey
from k49.pictures.scaling import resized, scale, shrink

LONGER_SIDE = 512  # pixels at which a picture is looked at: a character has 28 in the end
SHORTER_SIDE = 160  # pixels to which a smaller one is enlarged
SMALL = 128  # pixels at which paper and colours are looked at
SMALLEST = 8  # pixels, the shorter side: with less, nothing can be told
CLOSER = 0.25  # of a picture: ink that takes up less is looked at again, from nearer
LIGHT, DARK = (
    0.7,
    -1.8,
)  # skewness above which ink is light, and of the middle, below which it is dark
WIDEST = 5  # no stroke is wider than this part of the picture's longer side
SAUVOLA = 0.2  # the factor k of the threshold
LEAST_CONTRAST = 0.03  # share of its light that ink takes away from the paper
LEAST_TO_NOISE = 4.0  # ink's distance from the paper, in standard deviations of the paper
LEAST_DARK = 0.25  # of the darkest ink: what is fainter is none
LEAST_INK = 1 / 30  # of the picture's longer side: with less, it is a speck
BESIDE = 40  # pixels of the longer side for each, at half the size, that paper is near strokes
SAME_PAPER, LEAST_ALIKE = 0.15, 0.2  # difference of shares of the light, and share of the paper
WRITES = 0.3  # of all strokes' extent: what an ink that writes has at least


class NoInkError(K49Error):
    """A picture without anything that stands out from its ground."""


@dataclass(frozen=True)
class Ink:
    strength: np.ndarray  # (H, W): share of the light that the ink takes away, 0 for paper
    mask: np.ndarray  # (H, W) bool: strokes
    light: bool  # whether the ink is lighter than the paper
    left_out: list[str]  # names of what is no part of the characters


def find_ink(picture: np.ndarray) -> Ink:
    """Separate the characters' ink from paper, and from all else that is in a picture.

    Strokes are found by Sauvola's local threshold, which was made for old paper in uneven light
    (J. Sauvola and M. Pietikäinen, 2000, doi:10.1016/S0031-3203(99)00055-2), once shadows are taken
    out: a grey closing, wider than any stroke, leaves the light alone. The paper below strokes
    is a smooth continuation of the paper around them, and the ink is how much light it takes away.

    Args:
        picture: (H, W) grey or (H, W, 3) colours, 0 to 255.

    Raises:
        NoInkError: too small, blank, or nothing but noise.
    """
    if min(picture.shape[:2]) < SMALLEST:
        raise NoInkError(f"too small: {picture.shape[1]} x {picture.shape[0]} pixels")
    ink = look(picture)
    factor = max(picture.shape[:2]) / max(ink.mask.shape)
    extent = extent_of(ink.mask)
    if factor <= 1 or extent >= CLOSER * max(ink.mask.shape):
        return ink
    margin = extent // 4
    part = tuple(
        slice(int(max(side.start - margin, 0) * factor), int((side.stop + margin) * factor))
        for side in bounds(ink.mask)
    )
    try:
        closer = look(picture[part])
    except NoInkError:
        return ink
    return replace(closer, left_out=list(dict.fromkeys(ink.left_out + closer.left_out)))


def look(picture: np.ndarray) -> Ink:
    """Find the ink of a picture at working size; as `find_ink`."""
    colours = to_working_size(picture)
    grey, luminance = to_grey(colours)
    light = is_light_on_dark(grey)
    if light:  # from here on ink is dark
        grey, colours = 255 - grey, 255 - colours
    left_out = []
    smooth = blurred(grey)
    light_there = illumination(smooth)
    grey, smooth = grey / light_there, smooth / light_there
    strokes, darkness = find_strokes(smooth)
    cleared, lines = without_lines(strokes)
    if luminance and colours.ndim == 3:
        other = writing_ink(colours / light_there[..., None], strokes, without_thin(cleared))
        if other is not None:
            grey, smooth, left_out = other, blurred(other), ["ink of another colour"]
            strokes, darkness = find_strokes(smooth)
            cleared, lines = without_lines(strokes)
    side = max(grey.shape)
    far = ~ndimage.binary_dilation(strokes, iterations=max(round(side / 60), 1))
    mask, names = remove_clutter(cleared, darkness)
    left_out += lines + names
    far = far if far.mean() > 0.02 else ~mask  # ink nearly everywhere
    if extent_of(mask) < LEAST_INK * side or not far.any():
        raise NoInkError("blank: there is no ink")
    paper = extrapolate_background(smooth, far)
    darker = paper - smooth
    noise = darker[far].std()
    contrast = darker[mask].mean()
    if contrast < max(LEAST_CONTRAST, LEAST_TO_NOISE * noise):
        raise NoInkError("no ink stands out from the paper: blank, or too noisy")
    # as a share, since less light falls on ink and paper alike
    strength = 1 - grey / np.maximum(paper, 0.01)
    strength = np.maximum(strength - 1.5 * strength[far].std(), 0)
    near = ndimage.binary_dilation(mask, iterations=max(round(side / 100), 1))
    near &= mask | ~ndimage.binary_dilation(strokes & ~mask, iterations=max(round(side / 200), 1))
    return Ink(strength * near, mask, light, left_out)


def blurred(grey: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(grey, max(grey.shape) / 300)


def illumination(smooth: np.ndarray) -> np.ndarray:
    """Return how bright the paper is, at each place of a picture of dark ink; (H, W)."""
    return np.maximum(ndimage.grey_closing(smooth, size=max(smooth.shape) // WIDEST), 1)


def find_strokes(smooth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask of all strokes, and how dark each pixel is: paper 0, the darkest ink 1.

    Args:
        smooth: (H, W), shares of the paper's light.

    Raises:
        NoInkError: no contrast.
    """
    dark, bright = np.percentile(smooth[::2, ::2], [0.1, 99])
    if bright - dark < LEAST_CONTRAST:
        raise NoInkError("blank: there is no ink")
    level = (smooth - dark) / (bright - dark)
    window = max(max(smooth.shape) // 3, 15) | 1  # odd; wider than any stroke
    mean, squares = (ndimage.uniform_filter(v, window, mode="mirror") for v in (level, level**2))
    deviation = np.sqrt(np.maximum(squares - mean**2, 0))
    threshold = mean * (1 + SAUVOLA * (2 * deviation - 1))
    return level < np.minimum(threshold, 1 - LEAST_DARK), 1 - level


def writing_ink(lit: np.ndarray, strokes: np.ndarray, thick: np.ndarray) -> np.ndarray | None:
    """Return the picture without the ink that doesn't write, (H, W), 0 to 1, if there are two inks.

    A seal is red, as are corrections; else the darker ink writes. But lines and frames don't.

    Args:
        lit: (H, W, 3), colours as shares of the light.
        strokes: (H, W) bool, of all inks.
        thick: those without lines and frames, by which inks are told apart.
    """
    few = slice(None, None, 2), slice(None, None, 2)
    white = np.median(lit[few][~strokes[few]], axis=0)
    near = ndimage.binary_dilation(thick[few], iterations=max(max(strokes.shape) // BESIDE, 1))
    beside = lit[few][near & ~strokes[few]]
    alike = (abs(beside - white) < SAME_PAPER).all(1)
    if len(beside) and alike.mean() < LEAST_ALIKE:  # more of the picture is a desk
        white = np.median(beside, axis=0)
    absorbed = 1 - lit / np.maximum(white, 1e-3)
    for ink in inks(absorbed[few][thick[few]]):
        grey = 1 - ink.amount(absorbed)
        try:
            mask, _ = remove_clutter(without_lines(find_strokes(blurred(grey))[0])[0])
        except NoInkError:
            continue
        if extent_of(mask) >= WRITES * extent_of(strokes):
            return grey
    return None


def to_working_size(picture: np.ndarray) -> np.ndarray:
    """Shrink a picture to `LONGER_SIDE`, or enlarge it to `SHORTER_SIDE`; float64."""
    side = max(picture.shape[:2])
    if side < SHORTER_SIDE:
        return scale(picture, SHORTER_SIDE / side, Image.Resampling.LANCZOS)
    return shrink(picture, LONGER_SIDE)


def is_light_on_dark(grey: np.ndarray) -> bool:
    """Return whether ink is lighter than the paper; dark ink on light paper is expected.

    Ink differs from the median around it, and to one side: skewness. The middle of the picture
    counts, as around it may be an edge, or a desk. The border is paper rather than ink.
    """
    height, width = grey.shape
    middle = slice(height // 6, height - height // 6), slice(width // 6, width - width // 6)
    centre = skewness(differences(shrink(grey[middle], 32)))
    if centre < DARK:
        return False
    small = shrink(grey, 32)
    whole = differences(small)
    rows, columns = (length // 6 for length in whole.shape)
    inner = whole[rows : len(whole) - rows, columns : whole.shape[1] - columns]
    inner = inner if inner.std() > 0.2 * whole.std() else whole
    bright = small > small.mean()
    border = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    return skewness(inner) + centre / 2 + 1 - 2 * border.mean() > LIGHT


def skewness(values: np.ndarray) -> float:
    return float((values**3).mean() / max((values**2).mean() ** 1.5, 1e-9))


def extrapolate_background(grey: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Smooth the picture where it is `known`, and continue it to everywhere else."""
    weight, values = (
        shrink(part, SMALL) for part in (known.astype(np.float64), np.where(known, grey, 0))
    )
    sigma = max(weight.shape) / 12
    weight, smooth = (ndimage.gaussian_filter(part, sigma, truncate=2) for part in (weight, values))
    small = np.where(weight > 1e-3, smooth / np.maximum(weight, 1e-3), np.median(grey[known]))
    return resized(small, grey.shape, Image.Resampling.BILINEAR)
