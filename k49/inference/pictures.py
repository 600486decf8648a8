"""Picture files of any size and kind, and arrays of many, as images that a model takes."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from k49.data.arrays import File, open_array
from k49.data.images import brighten_pixels, image_chunks, size_of
from k49.errors import K49Error
from k49.pictures.characters import characters
from k49.pictures.files import Source, read_page
from k49.pictures.ink import NoInkError
from k49.pictures.single import read_scaled
from k49.progress import each
from k49.settings import DatasetInfo


def read(path: Path, dataset: DatasetInfo) -> tuple[list[tuple[str, np.ndarray]], str]:
    """Read the characters of a picture, or an array: names and images (H, W) uint8.

    Several characters of a picture, and the rows of an `.npz` or `.npy`, are named `file[0]`,
    `file[1]`, ... Such an array is one image or many, as `data.images` says, and taken as it is.
    `-` is a picture on standard input.

    Args:
        path: of the file.
        dataset: what the images are to be like: height, width, and how they are made of pictures.

    Returns:
        The images, and what is doubtful about them, in a few words, or nothing.

    Raises:
        K49Error: the file is missing, neither a picture nor such an array, or without ink.
    """
    if str(path) != "-" and not path.is_file():
        raise K49Error(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    if path.suffix.lower() not in (".npz", ".npy"):
        return read_picture(path, dataset)
    height, width = dataset.image_size
    images = read_array(path, (height, width))
    if images.max() <= dataset.white:
        images = brighten_pixels(images, dataset.white)
    return numbered(path, images), ""


def read_picture(source: Source, dataset: DatasetInfo) -> tuple[list[tuple[str, np.ndarray]], str]:
    """Read the characters of a picture; as `read`."""
    height, width = dataset.image_size
    if dataset.normalize == "scale":
        image, more = read_scaled(source, (height, width), dataset.invert)
        return [(str(source), 255 - image if dataset.invert else image)], more
    try:
        grey, more = read_page(source)
        images, doubt = characters(grey, (height, width), dataset.ink_extent)
    except NoInkError as error:
        raise K49Error(f"{source}: {error}") from error
    doubt = "; ".join(filter(None, [more, doubt]))
    if len(images) == 1:
        return [(str(source), images[0])], doubt
    return numbered(source, images), doubt


def numbered(source: Source, images: Iterable[np.ndarray]) -> list[tuple[str, np.ndarray]]:
    return [(f"{source}[{i}]", image) for i, image in enumerate(images)]


def read_all(
    paths: list[Path], dataset: DatasetInfo
) -> tuple[list[tuple[str, np.ndarray]], list[str], list[K49Error]]:
    """Read several files as `read` does.

    Returns:
        Names and images of the files that can be read; what is doubtful, a line for each file; and
        the errors of the files that can't.
    """
    images, notes, faults = [], [], []
    for path in each(paths, "reading"):
        try:
            found, doubt = read(path, dataset)
        except K49Error as error:
            faults.append(error)
            continue
        images += found
        if doubt:
            notes.append(f"{path}: {doubt}")
    return images, notes, faults


def read_array(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read images (N, H, W) uint8 of an `.npz` or `.npy` file; one image alone is N = 1."""
    with open_array(File(path, str(path))) as array:
        if array.shape in (size, (*size, 1)):
            array = replace(array, shape=(1, *array.shape))
        return np.concatenate(list(image_chunks(array, size_of(array, size))))


def stack(images: list[np.ndarray]) -> np.ndarray:
    return np.stack(images)[..., np.newaxis]
