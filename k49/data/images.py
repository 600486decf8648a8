"""Arrays of images and labels in their many forms, and the one form that they get.

Images (N, H, W), (N, H * W), (N, H, W, 1) or (N, 1, H, W), uint8 or floats of 0 to 1, become
(N, H, W) uint8. Labels of any integer type, one-hot or as text become numbers from 0, and names of
classes.
"""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from k49.data.arrays import Array
from k49.errors import K49Error
from k49.settings import MOST_CLASSES, SIDES, check_class_name

COLOURS = (3, 4)  # values a pixel
MOST_LABEL_BYTES = 1 << 27  # that are in memory at once


def size_of(array: Array, expected: Sequence[int] | None) -> tuple[int, int]:
    """Return height and width of an array's images.

    Args:
        array: of images.
        expected: height and width of the dataset's images, if they are known.

    Raises:
        K49Error: it holds no grey images, or images of another size.
    """
    shape = array.shape
    match shape[1:]:
        case (pixels,) if expected and pixels == math.prod(expected):
            height, width = expected
        case (pixels,) if not expected and math.isqrt(pixels) ** 2 == pixels:
            height = width = math.isqrt(pixels)
        case (height, width) | (height, width, 1) | (1, height, width):
            pass
        case (first, _, last) if first in COLOURS or last in COLOURS:
            raise K49Error(f"{array.where}: holds colour images, shape {shape}; expected grey ones")
        case _:
            raise K49Error(
                f"{array.where}: holds {array.dtype} of shape {shape}, expected (N, H, W), "
                "(N, H * W), (N, H, W, 1) or (N, 1, H, W); image_size of a description says H and W"
            )
    if height not in SIDES or width not in SIDES:
        raise K49Error(
            f"{array.where}: holds images of {height} x {width} pixels (shape {shape}), expected 8 "
            "to 64 both ways"
        )
    if expected and (height, width) != tuple(expected):
        raise K49Error(
            f"{array.where}: holds images of {height} x {width} pixels, expected {expected[0]} x "
            f"{expected[1]}"
        )
    return height, width


def image_chunks(array: Array, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield an array's images as (n, H, W) uint8.

    Raises:
        K49Error: they are neither uint8 nor floats of 0 to 1.
    """
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise K49Error(
            f"{array.where}: holds {array.dtype} of shape {array.shape}, expected uint8, or floats "
            "of 0 to 1"
        )
    for chunk in array.chunks():
        yield to_uint8(chunk, array.where).reshape(-1, *size)


def to_uint8(chunk: np.ndarray, where: str) -> np.ndarray:
    if chunk.dtype == np.uint8:
        return chunk
    if not np.isfinite(chunk).all():
        raise K49Error(f"{where}: holds NaN or infinity")
    if chunk.min() < 0 or chunk.max() > 1:
        raise K49Error(
            f"{where}: holds {chunk.dtype} from {chunk.min():g} to {chunk.max():g}, expected "
            "floats of 0 to 1, or uint8"
        )
    return np.rint(chunk * 255).astype(np.uint8)


def brighten_pixels(images: np.ndarray, white: int) -> np.ndarray:
    """Return uint8 images whose pixels go up to `white` with pixels that go up to 255."""
    levels = np.rint(np.minimum(np.arange(256) * (255 / white), 255)).astype(np.uint8)
    return levels[images]


def read_labels(array: Array) -> np.ndarray:
    """Return an array's labels: integers (N,), text (N,), or of one-hot rows where the 1 is.

    Raises:
        K49Error: it holds something else.
    """
    rows, columns = len(array), math.prod(array.shape[1:])
    if len(array.shape) > 2 or array.dtype.kind not in "iubfUS":
        raise unlike_labels(array)
    if columns == 1 and rows * array.dtype.itemsize > MOST_LABEL_BYTES:
        raise K49Error(f"{array.where}: claims {rows:,} labels of {array.dtype.itemsize} bytes")
    if columns == 1 and array.dtype.kind not in "fb":
        labels = np.concatenate([chunk.reshape(-1) for chunk in array.chunks()])
        return decode_labels(labels, array.where) if array.dtype.kind in "US" else labels
    if columns < 2 or columns > MOST_CLASSES or array.dtype.kind in "US":
        raise unlike_labels(array)
    numbers = np.empty(rows, np.int64)
    row = 0
    for chunk in array.chunks():
        if not (((chunk == 0) | (chunk == 1)).all() and (chunk.sum(1) == 1).all()):
            raise K49Error(f"{array.where}: shape {array.shape}, but not every row is one-hot")
        numbers[row : row + len(chunk)] = chunk.argmax(1)
        row += len(chunk)
    return numbers


def unlike_labels(array: Array) -> K49Error:
    return K49Error(
        f"{array.where}: holds {array.dtype} of shape {array.shape}, expected labels: integers or "
        f"text of shape (N), or one-hot rows (N, classes), {MOST_CLASSES} classes at most"
    )


def decode_labels(labels: np.ndarray, where: str) -> np.ndarray:
    """Return labels as text in Unicode's form NFC, (N,) str; bytes are taken as UTF-8."""
    try:
        text = np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels
        known, at = np.unique(text, return_inverse=True)
        return np.array([unicodedata.normalize("NFC", label) for label in known])[at]
    except UnicodeDecodeError as error:
        raise K49Error(f"{where}: labels are no UTF-8 text: {error}") from error


def encode(
    train: np.ndarray, test: np.ndarray, names: Sequence[str], where: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return labels of train and test as (N,) uint8 from 0, and the names of the classes.

    Without names the classes are the labels that train has, in their order.

    Args:
        train, test: as `read_labels` returns them.
        names: of the classes, or none.
        where: names of the labels of train and of test in errors.

    Raises:
        K49Error: a label is out of range, or has no train image; there are too few or too many.
    """
    of_train, train_at = np.unique(train, return_inverse=True)
    of_test, test_at = np.unique(test, return_inverse=True)
    trained: list[Any] = of_train.tolist()
    tested: list[Any] = of_test.tolist()
    text = train.dtype.kind == "U"
    if text != (test.dtype.kind == "U"):
        raise K49Error(f"{where[1]}: labels are {test.dtype}, but those of train {train.dtype}")
    if not text and min(trained) < 0:
        raise K49Error(f"{where[0]}: label {min(trained)} found, labels start at 0")
    known: list[Any] = (list(names) if text else list(range(len(names)))) if names else trained
    if not 2 <= len(known) <= MOST_CLASSES:
        raise K49Error(f"{where[0]}: holds {len(known)} classes, expected 2 to {MOST_CLASSES}")
    for labels, place in zip((trained, tested), where, strict=True):
        strange = sorted(set(labels) - set(known)) if names else []
        if strange:
            expected = f"labels go from 0 to {len(known) - 1}"
            if not text and min(trained) == 1 and max(trained) == len(known):
                expected += (
                    "; these go from 1: put a name for 0 before the description's classes, which "
                    "no image has"
                )
            if text:
                expected = f"the classes are {', '.join(known)}"[:200]
            raise K49Error(f"{place}: label {strange[0]!r:.80} found; {expected}")
    if untrained := sorted(set(tested) - set(trained)):
        label = untrained[0]
        name = f" ({names[label]})" if names and not text else ""
        raise K49Error(f"{where[1]}: class {label!r:.80}{name} has no train image")
    try:
        classes = list(names) or [check_class_name(str(label)) for label in known]
    except ValueError as error:
        raise K49Error(f"{where[0]}: label {error}") from error
    number = {label: i for i, label in enumerate(known)}
    numbers = (
        np.array([number[label] for label in labels], np.uint8) for labels in (trained, tested)
    )
    encoded = [of[at] for of, at in zip(numbers, (train_at, test_at), strict=True)]
    return encoded[0], encoded[1], classes
