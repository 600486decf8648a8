"""Draws the stand-in: images in the very format of Kuzushiji-49 that are not Kuzushiji-49.

`strokes` knows the way of the pen through every form of a character, `hands` how a book writes it,
`drawing` makes images of that. Test books are never train books, so that test accuracy falls below
validation accuracy, as it does on K49.
"""

from collections.abc import Iterator

import numpy as np

from k49.data.standin.drawing import SIZE as SIDE
from k49.data.standin.drawing import draw_images
from k49.data.standin.hands import FORMS, open_books
from k49.process import in_threads
from k49.settings import Standin

CHUNK = 512  # images drawn at a time; a part of the definition, since each chunk has its own seed
FEWEST = {"train": 2, "test": 20}  # images of a class, however small the scale

# Images of each class: K49's, in its order (Clanuwat et al. 2018, arXiv:1812.01718), and those of
# the ten classes of Kuzushiji-MNIST
CHARACTERS = [forms[0] for forms in FORMS]
TEN = list("おきすつなはまやれを")
TITLE_OF_TEN = "stand-in of 10 classes (drawn, not Kuzushiji-MNIST)"
SIZE = SIDE, SIDE  # height and width of an image, in pixels
MOST = {"train": 6000, "test": 1000}
_FEWER = {
    "train": {
        **{3: 777, 8: 4714, 13: 4165, 14: 3867, 16: 2565, 22: 2063, 23: 2451, 26: 5132, 29: 1993},
        **{31: 3060, 32: 1718, 33: 3394, 36: 1598, 42: 2139, 43: 2397, 44: 417, 45: 392, 48: 3523},
    },
    "test": {
        **{3: 126, 8: 767, 13: 678, 14: 629, 16: 418, 22: 336, 23: 399, 26: 836, 29: 324},
        **{31: 498, 32: 280, 33: 552, 36: 260, 42: 348, 43: 390, 44: 68, 45: 64, 48: 574},
    },
}


def class_names(classes: int) -> list[str]:
    """Return the characters of K49's 49 classes, or of Kuzushiji-MNIST's 10."""
    return TEN if classes == len(TEN) else CHARACTERS


def counts(split: str, scale: float, classes: int = 49) -> np.ndarray:
    """Return the images for each class at `scale` times the dataset's size; (classes,) int64.

    At `scale=1.0` they are K49's own, or Kuzushiji-MNIST's. No class of test has fewer than 20:
    with three, one image would decide the balanced accuracy.
    """
    full = np.full(classes, MOST[split])
    if classes == len(CHARACTERS):
        full[list(_FEWER[split])] = list(_FEWER[split].values())
    return np.maximum(np.rint(full * scale).astype(np.int64), FEWEST[split])


def draw(split: str, settings: Standin) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Draw one split of the stand-in.

    Args:
        split: "train" or "test"; they share no book and no random number.
        settings: classes, scale, number of books, and seed: the same one gives the same bytes, for
            any number of cores.

    Returns:
        labels (N,) uint8, shuffled; and the images, light ink on black as in K49, in chunks
        (n, 28, 28) uint8 that are drawn as they are asked for, and a few ahead.
    """
    n = {"train": settings.train_books, "test": settings.test_books}[split]
    stream = {"train": 0, "test": 1}[split]
    of_class = counts(split, settings.scale, settings.classes)
    labels = np.repeat(np.arange(settings.classes, dtype=np.uint8), of_class)
    np.random.default_rng([settings.seed, stream, 1]).shuffle(labels)
    drawn = np.array([CHARACTERS.index(name) for name in class_names(settings.classes)])[labels]

    def chunks() -> Iterator[np.ndarray]:
        books = open_books(n, np.random.default_rng([settings.seed, stream, 0]))

        def draw_chunk(start: int) -> np.ndarray:
            rng = np.random.default_rng([settings.seed, stream, 2, start])
            return draw_images(drawn[start : start + CHUNK], books, rng)

        yield from in_threads(draw_chunk, range(0, len(labels), CHUNK))

    return labels, chunks()
