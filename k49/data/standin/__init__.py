"""Draws the stand-in: images in the very format of Kuzushiji-49 that are not Kuzushiji-49.

`strokes` knows the way of the pen through every form of a character, `hands` how a book writes it,
`drawing` makes images of that. Test books are never train books, so that test accuracy falls below
validation accuracy, as it does on K49.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from k49.data import NUM_CLASSES, classes
from k49.data.standin.drawing import draw_images
from k49.data.standin.hands import open_books
from k49.settings import Standin

CHUNK = 512  # images drawn at a time; a part of the definition, since each chunk has its own seed
FEWEST = {"train": 2, "test": 20}  # images of a class, however small the scale


def counts(split: str, scale: float) -> np.ndarray:
    """Return the images for each class at `scale` times K49's size; (49,) int64.

    At `scale=1.0` they are K49's own. No class of test has fewer than 20: with three, one image
    would decide the balanced accuracy.
    """
    full = {"train": classes.TRAIN_COUNTS, "test": classes.TEST_COUNTS}[split]
    return np.maximum(np.rint(full * scale).astype(np.int64), FEWEST[split])


def draw(split: str, settings: Standin) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Draw one split of the stand-in.

    Args:
        split: "train" or "test"; they share no book and no random number.
        settings: scale, number of books, and seed: the same one gives the same bytes, for any
            number of cores.

    Returns:
        labels (N,) uint8, shuffled; and the images, light ink on black as in K49, in chunks
        (n, 28, 28) uint8 that are drawn as they are asked for, and a few ahead.
    """
    n = {"train": settings.train_books, "test": settings.test_books}[split]
    stream = {"train": 0, "test": 1}[split]
    labels = np.repeat(np.arange(NUM_CLASSES, dtype=np.uint8), counts(split, settings.scale))
    books = open_books(n, np.random.default_rng([settings.seed, stream, 0]))
    np.random.default_rng([settings.seed, stream, 1]).shuffle(labels)

    def draw_chunk(start: int) -> np.ndarray:
        rng = np.random.default_rng([settings.seed, stream, 2, start])
        return draw_images(labels[start : start + CHUNK], books, rng)

    return labels, in_threads(draw_chunk, range(0, len(labels), CHUNK))


def in_threads(function: Callable[[int], np.ndarray], arguments: range) -> Iterator[np.ndarray]:
    """Yield results in the order of the arguments, computed by a thread for each core.

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
