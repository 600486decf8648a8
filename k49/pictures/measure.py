"""How pictures have to be prepared, so that they become images as those of a dataset of arrays."""

import numpy as np
from PIL import Image

from k49.pictures.characters import bounds, characters
from k49.pictures.ink import NoInkError
from k49.settings import Normalize

ENLARGED = 4  # times, as a picture shows a character larger than its image does
MARGIN = 0.25  # of such a picture, on each side
INK = 0.25  # share of the brightest pixel above which a pixel is ink
FILLED = 0.93  # share of the image from which ink fills it, as K49's does
LEAST_ALIKE = 0.7  # median correlation of images and pictures of them that were cut to the ink


def normalization_of(images: np.ndarray) -> tuple[Normalize, float]:
    """Return the normalization that turns pictures of images into these images again.

    Pictures are made of them: larger, and with a margin. If cutting those to their ink gives the
    images back, it does so with pictures of other characters, too. Else they are no characters, as
    those of Fashion-MNIST, and a picture of one can only be scaled.

    Args:
        images: (N, H, W) uint8, light ink on black; some hundred of a dataset.

    Returns:
        "ink" or "scale"; and the share of the longer side that the ink takes up.
    """
    extent = float(np.median([ink_extent(image) for image in images]))
    extent = 1.0 if extent >= FILLED else round(extent, 2)
    alike = [correlation(image, prepared(image, extent)) for image in images]
    return ("ink", extent) if np.median(alike) >= LEAST_ALIKE else ("scale", 1.0)


def ink_extent(image: np.ndarray) -> float:
    """Return the share of an image's longer side that its ink takes up."""
    mask = image > INK * image.max()
    if not mask.any():
        return 1.0
    return max(np.divide(mask[bounds(mask)].shape, image.shape))


def prepared(image: np.ndarray, extent: float) -> np.ndarray:
    """Return what a larger picture of an image, with a margin, becomes; black without ink."""
    height, width = (ENLARGED * length for length in image.shape)
    large = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    picture = np.pad(np.asarray(large), round(MARGIN * max(height, width)))
    try:
        found, _ = characters(picture, image.shape, extent)
    except NoInkError:
        found = []
    return found[0] if len(found) == 1 else np.zeros_like(image)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two images' pixels; 0 where one is blank."""
    a, b = (image - image.mean() for image in (a.astype(float), b.astype(float)))
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))
