"""Draws the stand-in: images in the very format of Kuzushiji-49 that are not Kuzushiji-49.

Every class has two forms, the hiragana and its parent kanji (あ and 安), as the classes of cursive
Japanese have several. Both are turned once into distance fields; an image is one field, looked up
at moved and bent coordinates and cut off at the width of a stroke:

    ink = (distance inside the stroke + widening of the stroke) / softness of its edge

Each image comes from a "book". A book has a hand of its own: slant, proportions, pen, ink, how it
bends every character and how often it writes the kanji. Test books are never train books, so that
test accuracy falls below validation accuracy, as it does on K49. Every image is cut to its ink, as
K49's are: the longer side fills 28 pixels, the shorter one is centred.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import matplotlib_fontja
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt

from k49.data import NUM_CLASSES, classes
from k49.data.warp import SIZE, elastic_basis
from k49.settings import Standin

FIELD = 112  # cells of a distance field, both ways: a quarter of a pixel each
MARGIN = 16  # cells around the character
PEN = -0.1  # pixels by which a stroke is wider, on each side, than the font has it
KNOTS = 5  # control points of an elastic displacement, both ways
CHUNK = 2048  # images drawn at a time; a part of the definition, since each chunk has its own seed

# How far books differ from each other (drawn once a book) and images within a book (once an
# image). Standard deviations; pixels where not said otherwise. Chosen so that the report's recipe
# lands near the report's figures at the committed scale.
BOOK = dict(slant=0.28, turn=0.06, stretch=0.08, bend=2.2, width=0.24)
IMAGE = dict(slant=0.04, turn=0.03, stretch=0.03, bend=0.28, width=0.08)


@dataclass(frozen=True)
class Books:
    """The hands of a set of books; the first axis of every array is the book."""

    affine: np.ndarray  # (B, 2, 2) float32, from image to character coordinates
    bend: np.ndarray  # (B, F, KNOTS * KNOTS, 2) float32, pixels, for each form
    width: np.ndarray  # (B,) float32, widening of a stroke on each side, pixels
    softness: np.ndarray  # (B,) float32, width of a stroke's edge, pixels
    ink: np.ndarray  # (B,) float32, brightness of a full stroke, 0 to 1
    grain: np.ndarray  # (B,) float32, standard deviation of the paper's noise, 0 to 1
    kanji: np.ndarray  # (B, 49) float32, how often the book writes the parent kanji


def counts(full: np.ndarray, scale: float) -> np.ndarray:
    """Images for each class at `scale` times K49's size; (49,) int64, 2 at least.

    At `scale=1.0` the result is `full`, K49's own counts.
    """
    return np.maximum(np.rint(full * scale).astype(np.int64), 2)


def draw(
    split: str,
    settings: Standin,
) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Draw one split of the stand-in.

    Args:
        split: "train" or "test"; they share no book and no random number.
        settings: scale, number of books, and seed: the same one gives the same bytes, for any
            number of cores.

    Returns:
        labels (N,) uint8, shuffled; and the images, light ink on black as in K49, in chunks
        (n, 28, 28) uint8 that are drawn as they are asked for, and a few ahead.
    """
    full = {"train": classes.TRAIN_COUNTS, "test": classes.TEST_COUNTS}[split]
    n = {"train": settings.train_books, "test": settings.test_books}[split]
    stream = {"train": 0, "test": 1}[split]

    seed, fields = settings.seed, distance_fields()
    books = open_books(n, len(fields), np.random.default_rng([seed, stream, 0]))
    labels = np.repeat(np.arange(NUM_CLASSES, dtype=np.uint8), counts(full, settings.scale))
    np.random.default_rng([seed, stream, 1]).shuffle(labels)

    def draw_chunk(start: int) -> np.ndarray:
        rng = np.random.default_rng([seed, stream, 2, start])
        return draw_images(labels[start : start + CHUNK], books, fields, rng)

    return labels, in_threads(draw_chunk, range(0, len(labels), CHUNK))


def in_threads(function: Callable[[int], np.ndarray], arguments: range) -> Iterator[np.ndarray]:
    """Results in the order of the arguments, by as many threads as there are cores.

    NumPy frees the lock while it computes. No more than a few results wait to be taken.
    """
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future] = deque()
        for argument in arguments:
            waiting.append(pool.submit(function, argument))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def distance_fields() -> np.ndarray:
    """Distance to the edge of each form in pixels, inside positive; (98, FIELD, FIELD) float32.

    Forms 0 to 48 are the hiragana, 49 to 97 their parent kanji.
    """
    cells = FIELD * 2  # drawn twice as fine, so that the distances are smooth
    font = ImageFont.truetype(matplotlib_fontja.get_font_ttf_path(), cells - 4 * MARGIN)
    fields = []
    for char in classes.CHARACTERS + classes.PARENT_KANJI:
        picture = Image.new("L", (cells, cells))
        ImageDraw.Draw(picture).text((cells / 2, cells / 2), char, fill=255, font=font, anchor="mm")
        inside = np.asarray(picture) > 127
        distance = distance_transform_edt(inside) - distance_transform_edt(~inside)
        fields.append(distance.reshape(FIELD, 2, FIELD, 2).mean((1, 3)) * SIZE / cells)
    return np.array(fields, np.float32)


def open_books(n: int, forms: int, rng: np.random.Generator) -> Books:
    """Draw the hands of `n` books."""
    return Books(
        affine=affine(n, BOOK, rng),
        bend=normal(rng, (n, forms, KNOTS**2, 2), BOOK["bend"]),
        width=PEN + normal(rng, n, BOOK["width"]),
        softness=rng.uniform(0.5, 1.2, n).astype(np.float32),
        ink=rng.uniform(0.75, 1.0, n).astype(np.float32),
        grain=rng.uniform(0.0, 0.08, n).astype(np.float32),
        kanji=rng.beta(0.25, 0.75, (n, NUM_CLASSES)).astype(np.float32),
    )


def draw_images(
    labels: np.ndarray, books: Books, fields: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw one image of each label, each from a random book; (n, 28, 28) uint8."""
    n = len(labels)
    book = rng.integers(len(books.width), size=n)
    form = labels + NUM_CLASSES * (rng.random(n) < books.kanji[book, labels])

    # where in the character each pixel looks: turned and stretched, then bent
    grid = np.stack(np.meshgrid(*[np.arange(SIZE) - (SIZE - 1) / 2] * 2, indexing="ij"), -1)
    where = grid.reshape(-1, 2).astype(np.float32) @ (books.affine[book] @ affine(n, IMAGE, rng))
    bend = books.bend[book, form] + normal(rng, (n, KNOTS**2, 2), IMAGE["bend"])
    where += elastic_basis(KNOTS) @ bend
    width = books.width[book] + normal(rng, n, IMAGE["width"])
    where, scale = cut(where, distances(fields, form, where) + width[:, None] > 0)

    distance = distances(fields, form, where) / scale[:, None]
    ink = np.clip((distance + width[:, None]) / books.softness[book, None] + 0.5, 0, 1)
    ink *= books.ink[book, None] * rng.uniform(0.85, 1.0, (n, 1)).astype(np.float32)
    ink += smudges(n, rng)
    ink += books.grain[book, None] * rng.standard_normal(ink.shape, np.float32)
    return (np.clip(ink, 0, 1) * 255).astype(np.uint8).reshape(n, SIZE, SIZE)


def distances(fields: np.ndarray, form: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The fields (98, FIELD, FIELD) of forms (n,) at positions (n, 784, 2); (n, 784), pixels.

    The nearest cell's: a cell is a quarter of a pixel, and distances are smooth.
    """
    cell = ((where + SIZE / 2) * (FIELD / SIZE)).astype(np.int32)
    np.clip(cell, 0, FIELD - 1, out=cell)
    return fields.ravel()[(form[:, None] * FIELD + cell[..., 0]) * FIELD + cell[..., 1]]


def cut(where: np.ndarray, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Let images look at the box around their ink, centred, its longer side 28 pixels.

    Args:
        where: (n, 784, 2) float32, where each pixel looks.
        ink: (n, 784) bool, where it finds ink.

    Returns:
        The same as `where` for the images that are cut; and how many pixels of the image before
        a pixel of the new one is, (n,) float32.
    """
    n = len(ink)
    square = ink.reshape(n, SIZE, SIZE)
    lines = [np.any(square, axis) for axis in (2, 1)]  # which rows and which columns have ink
    first = [line.argmax(1) for line in lines]
    last = [SIZE - 1 - line[:, ::-1].argmax(1) for line in lines]
    longer = np.max([stop - start + 1 for start, stop in zip(first, last, strict=True)], axis=0)
    scale = (longer / SIZE).astype(np.float32)

    # `where` is smooth: between pixels it is interpolated, a matrix for each axis of each image
    middle = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    rows, columns = (
        interpolation((start + stop)[:, None] / 2 + middle * scale[:, None])
        for start, stop in zip(first, last, strict=True)
    )
    fields = where.reshape(n, SIZE, SIZE, 2).transpose(0, 3, 1, 2)
    moved = rows[:, None] @ fields @ columns[:, None].transpose(0, 1, 3, 2)
    return moved.transpose(0, 2, 3, 1).reshape(where.shape), scale


def interpolation(at: np.ndarray) -> np.ndarray:
    """Linear interpolation at positions (n, 28) of 28 values, and beyond them; (n, 28, 28)."""
    below = np.clip(np.floor(at), 0, SIZE - 2)
    weight = (at - below)[..., None]
    pixel = np.arange(SIZE)
    lower, upper = (below[..., None] + step == pixel for step in (0, 1))
    return (lower * (1 - weight) + upper * weight).astype(np.float32)


def smudges(n: int, rng: np.random.Generator) -> np.ndarray:
    """One faint round spot somewhere in every third image; (n, 784) float32."""
    centre = rng.uniform(0, SIZE, (2, n, 1)).astype(np.float32)
    radius = rng.uniform(1.0, 4.0, (n, 1)).astype(np.float32)
    strength = np.where(rng.random((n, 1)) < 1 / 3, rng.uniform(0.1, 0.5, (n, 1)), 0)
    rows, columns = np.exp(-(((np.arange(SIZE) - centre) / radius) ** 2) / 2).astype(np.float32)
    spot = (strength.astype(np.float32) * rows)[:, :, None] * columns[:, None, :]
    return spot.reshape(n, -1)


def affine(n: int, spread: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    """Random turn, slant and stretch around the middle; (n, 2, 2) float32."""
    turn = rng.normal(0, spread["turn"], n)
    slant = rng.normal(0, spread["slant"], n)
    rows, columns = np.exp(rng.normal(0, spread["stretch"], (2, n)))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shear = np.array([[rows, np.zeros(n)], [slant, columns]])
    return np.einsum("ijn,jkn->nik", rotation, shear).astype(np.float32)


def normal(rng: np.random.Generator, shape: int | tuple[int, ...], spread: float) -> np.ndarray:
    """Normal numbers of standard deviation `spread`, float32."""
    return rng.standard_normal(shape, np.float32) * np.float32(spread)
