"""Pictures that each show one character, as images of a dataset: cut to the ink, or only scaled."""

import numpy as np
from PIL import Image

from k49.errors import K49Error
from k49.pictures.characters import characters, fitted, one_character
from k49.pictures.clutter import bounds
from k49.pictures.files import Source, on_paper, open_picture, other_pages, read_page
from k49.pictures.ink import NoInkError
from k49.settings import Normalize

MOST_PIXELS = 10_000_000  # of a picture of one character
LEAST_COLOUR = 16  # levels between the channels of a pixel that is no grey
MARGIN = 0.25  # of such a picture, on each side
INK = 0.25  # share of the brightest pixel above which a pixel is ink
FILLED = 0.93  # share of the image from which ink fills it, as K49's does
LEAST_ALIKE = 0.7  # median correlation of images and pictures of them that were cut to the ink


def picture_size(path: Source) -> tuple[int, int]:
    """Return a picture's height and width, by its header.

    Raises:
        K49Error: it is no picture, or too large.
    """
    with open_picture(path, MOST_PIXELS) as picture:
        return picture.height, picture.width


def read_single(
    path: Source, size: tuple[int, int], normalize: Normalize, dark_ink: bool = False
) -> np.ndarray:
    """Read a picture of one character as an image of that size, uint8.

    Args:
        path: of the picture.
        size: height and width to make.
        normalize: "ink" cuts to the ink and stretches the contrast, light ink on black; "scale"
            changes nothing but the size, and leaves light and dark as they are; transparent parts
            become paper.
        dark_ink: whether "scale" fills up with white where the picture has another shape.

    Raises:
        K49Error: it is no picture, too large, without ink, has several pages, or "scale" finds
            colours.
    """
    try:
        if normalize == "ink":
            picture, more = read_page(path, MOST_PIXELS)
            image = one_character(picture, size)
        else:
            image, more = read_scaled(path, size, dark_ink)
    except NoInkError as error:
        raise K49Error(f"{path}: {error}") from error
    if more:
        raise K49Error(f"{path}: several pages; save each as a picture of its own")
    return image


def read_scaled(path: Source, size: tuple[int, int], dark_ink: bool) -> tuple[np.ndarray, str]:
    """Read a picture as `read_single` does with "scale"; say so if it has other pages, or ""."""
    with open_picture(path, MOST_PIXELS) as picture:
        more = other_pages(picture)
        if picture.mode.startswith("I;16"):
            grey = np.asarray(picture, np.float32) / 257
        elif picture.mode in ("I", "F"):
            raise K49Error(f"{path}: has {picture.mode} pixels, expected 8 or 16 bits each")
        else:
            pixels = np.asarray(on_paper(picture).convert("RGB"), np.int16)
            if np.ptp(pixels, axis=2).max() >= LEAST_COLOUR:
                raise K49Error(
                    f"{path}: has colours, expected grey; data.normalize: ink finds the ink in them"
                )
            grey = pixels.mean(2).astype(np.float32)
    if grey.shape != size:
        grey = fitted(grey, size, Image.Resampling.LANCZOS, 255 if dark_ink else 0)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8), more


ENLARGED = 4  # times, as a picture shows a character larger than its image does


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
    """Prepare a larger picture of an image, with a margin; black if no ink is found."""
    height, width = (ENLARGED * length for length in image.shape)
    large = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    picture = np.pad(np.asarray(large), round(MARGIN * max(height, width)))
    try:
        cut, _ = characters(picture, image.shape, extent)
    except NoInkError:
        cut = []
    return cut[0] if len(cut) == 1 else np.zeros_like(image)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two images' pixels; 0 where one is blank."""
    a, b = (image - image.mean() for image in (a.astype(float), b.astype(float)))
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))
