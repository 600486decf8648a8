"""One image: a book's path of the pen, wavering, cut to its ink and set down in pixels.

Each point of a path leaves a round Gaussian spot, which is a column times a row. So the ink of all
of them is one product of two matrices:

    ink (28, 28) = columns (28, points) @ rows (points, 28)

An image is the same bytes on every processor. Positions are float64, in which processors differ by
1e-15, and are then rounded. Spots are whole numbers from a table, so that their products and sums
are exact in float32, whatever the order in which a matrix product adds them.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from k49.data.standin.hands import KNOTS, Books, bending, forms, maps, normal

SIZE = 28  # pixels, both ways
# How images of one book differ, drawn once an image; units as in `hands`
WAVER = 0.0132  # standard deviation of a control point
HASTE = 1.15  # standard deviation of the logarithm of what that is multiplied by
SPREAD = np.array([0.03, 0.04, 0.05])  # standard deviations of slant, turn and stretch
PEN = 0.12  # standard deviation of the logarithm of the pen's width
EDGE = (0.6, 1.8)  # sums of spots between which a pixel goes from black to full ink
OVER = 0.3  # pixels by which ink reaches beyond the image on each side
JOINED = 0.3  # how often the way from the character above is to be seen, or that to the next
NEIGHBOUR = 0.35  # how often a bit of the one above is, or of the one below
PLACES = 16  # of a spot in a pixel
WIDTHS = 64  # steps of a spot's deviation in a pixel,
WIDEST = 3  # pixels, the largest
FAR = 12  # pixels outside of the image from which no spot reaches into it
LEVELS = 255  # of a spot's strength along a line,
WEIGHTS = 128  # and steps of ink that weigh as 1
FAINT = 0.4  # pressure below which a stroke is none when an image is cut to its ink


def draw_images(labels: np.ndarray, books: Books, rng: np.random.Generator) -> np.ndarray:
    """Draw one image of each label, each from a random book.

    Args:
        labels: (n,) 0 to 48.
        books: whose hands.
        rng: of the n images.

    Returns:
        (n, 28, 28) uint8, light ink on black: the same on every processor.
    """
    n = len(labels)
    book = rng.integers(len(books), size=n)
    form = choose(labels, books.choice[book, labels], rng)
    waver = normal(rng, (n, KNOTS, 2), WAVER) * np.exp(normal(rng, (n, 1, 1), HASTE))
    path = (books.path[book, form] + bending() @ waver) @ maps((n,), SPREAD, rng)
    pressure = books.pressure[book, form]
    pen = books.pen[book] * np.exp(normal(rng, (n,), PEN))
    path = cut(path, pressure, pen)

    strokes = [(path, pressure), *joins(path, books.joins[book], rng), *neighbours(n, rng)]
    step = np.concatenate([np.diff(p, axis=1, append=p[:, -1:]) for p, _ in strokes], axis=1)
    path, pressure = (np.concatenate(part, axis=1) for part in zip(*strokes, strict=True))
    across = np.arctan2(step[..., 1], step[..., 0]) - books.angle[book, np.newaxis]
    spot = pen[:, np.newaxis] * (1 + books.brush[book, np.newaxis] * np.cos(2 * across))
    spot *= 0.55 + 0.45 * pressure  # a light pen is a thin one
    left = np.clip(1.15 * pressure - 0.15, 0, 1) * np.hypot(step[..., 0], step[..., 1]) / spot
    left *= books.ink[book, np.newaxis]

    weight = np.rint(left * WEIGHTS).astype(np.float32)[..., np.newaxis]
    columns = spots(path[..., 1], spot) * weight
    ink = columns.swapaxes(1, 2) @ spots(path[..., 0], spot).astype(np.float32)
    low, high = EDGE
    # exact below 2^24, 2 of ink and above EDGE; from there on a pixel is white in any case
    shade = ink / np.float32(LEVELS**2 * WEIGHTS)
    return (np.clip((shade - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def choose(labels: np.ndarray, choice: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a form (n,) for each label, as often as a book's `choice` (n, M) says."""
    place = (choice < rng.random((len(labels), 1))).sum(1)
    return forms()[1][labels, place]


def cut(path: np.ndarray, pressure: np.ndarray, pen: np.ndarray) -> np.ndarray:
    """Scale paths (n, POINTS, 2) to pixels: the ink fills the image, and its box is centred."""
    faint = np.where(pressure < FAINT, np.nan, 0)[..., np.newaxis]
    low, high = np.nanmin(path + faint, 1), np.nanmax(path + faint, 1)
    room = SIZE + 2 * OVER - 3 * pen  # a stroke reaches one and a half deviations from its middle
    scale = room / np.maximum((high - low).max(1), 0.15)
    middle = (low + high)[:, np.newaxis] / 2
    return (path - middle) * scale[:, np.newaxis, np.newaxis] + (SIZE - 1) / 2


def joins(
    path: np.ndarray, pressure: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the strokes that join a path to the characters above and below it.

    Each (n, 10, 2) and its pressure (n, 10), up to a book's (n,), mostly 0.
    """
    n = len(path)
    for end, row in ((path[:, 0], -3.0), (path[:, -1], SIZE + 2.0)):
        far = np.stack([end[:, 0] + normal(rng, (n,), 5), np.full(n, row)], 1)
        yield line(end, far, 10, pressure * (rng.random(n) < JOINED) * rng.uniform(0.3, 1, n))


def neighbours(n: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield a bit of a stroke of the character above, and of the one below; each as in `joins`."""
    for row in (-1.5, SIZE + 0.5):
        start = np.stack([rng.uniform(3, SIZE - 4, n), rng.normal(row, 1, n)], 1)
        reach = rng.normal(0, (4.0, 2.0), (n, 2))
        yield line(start, start + reach, 8, rng.random(n) < NEIGHBOUR)


def line(
    start: np.ndarray, stop: np.ndarray, points: int, pressure: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return straight strokes from (n, 2) to (n, 2), and their pressure at each point."""
    path = np.linspace(start, stop, points, axis=1)
    return path, np.repeat(pressure[:, np.newaxis], points, axis=1)


def spots(at: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return how strong each point's spot is in each of 28 lines; (n, points, 28) uint8."""
    place = np.rint(np.clip(at, -FAR, SIZE + FAR) * PLACES).astype(np.int64)
    width = np.rint(np.clip(deviation, 0, WIDEST) * WIDTHS).astype(np.int64)
    whole, part = np.divmod(place, PLACES)
    return spot_table()[width, part, SIZE + FAR - whole]


@cache
def spot_table() -> np.ndarray:
    """Return spots by deviation, part of a pixel, and pixels left of SIZE + FAR; uint8."""
    width = np.maximum(np.arange(WIDEST * WIDTHS + 1), 1)[:, np.newaxis, np.newaxis] / WIDTHS
    part = np.arange(PLACES)[:, np.newaxis] / PLACES
    distance = np.arange(2 * (SIZE + FAR) + 1) - (SIZE + FAR) - part
    strength = np.exp(-((distance / width) ** 2) / 2)
    return sliding_window_view(np.rint(strength * LEVELS).astype(np.uint8), SIZE, axis=2)
