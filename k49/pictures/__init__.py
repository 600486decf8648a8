"""From a picture file to ink, and from ink to an image as networks read them."""

import numpy as np

from k49.errors import K49Error
from k49.pictures.characters import characters as cut_apart
from k49.pictures.files import Source, read_page
from k49.pictures.ink import NoInkError
from k49.pictures.layout import LAYOUT, Layout


def prepare(
    source: Source,
    size: tuple[int, int] = (28, 28),
    extent: float = 1.0,
    layout: Layout = LAYOUT,
) -> tuple[list[np.ndarray], str]:
    """Make images of the characters in a picture, as the networks are trained on them.

    Args:
        source: the path of the picture.
        size: height and width of the images; of K49 28 x 28.
        extent: share of an image's longer side that ink takes up; of K49 all of it.
        layout: how characters are told apart, and the order in which they are read.

    Returns:
        An image (H, W) uint8, light ink on black, for each character, in reading order; and a note
        on what was left out and on doubts, or "".

    Raises:
        K49Error: it is no picture, damaged, too large, or without ink.
    """
    try:
        picture, pages = read_page(source)
        images, note = cut_apart(picture, size, extent, layout)
    except NoInkError as error:
        raise K49Error(f"{source}: {error}") from error
    return images, "; ".join(filter(None, [pages, note]))
