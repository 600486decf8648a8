"""The dataset's file format, `.npz` with one array `arr_0`, uint8: checked, then read."""

import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from k49.data import IMAGE_SHAPE, NUM_CLASSES
from k49.errors import K49Error
from k49.files import atomic_write, write_rows

MEMBER = "arr_0.npy"
# 37 times K49: a header that claims more is refused before memory is taken
MOST_IMAGES = 10_000_000

# what zipfile and NumPy raise for damaged files; RuntimeError: encrypted, or a method not known
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    TokenError,
    ValueError,
    EOFError,
    OverflowError,
    OSError,
    RuntimeError,
)


def read_images(path: Path, mapped: bool = False) -> np.ndarray:
    """Read images (N, 28, 28) uint8; K49Error if the file holds anything else.

    Args:
        path: the file.
        mapped: map images that are not compressed instead of reading them; the file's checksum is
            not looked at then.
    """
    return _read(path, IMAGE_SHAPE[:2], mapped)


def read_labels(path: Path) -> np.ndarray:
    """Read labels (N,) uint8, 0 to 48; K49Error if the file holds anything else."""
    labels = _read(path, ())
    if labels.max() >= NUM_CLASSES:
        raise K49Error(f"{path}: label {labels.max()} found, labels go from 0 to {NUM_CLASSES - 1}")
    return labels


def read_pair(images: Path, labels: Path, mapped: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Read images and their labels; K49Error if they are not equally many."""
    x, y = read_images(images, mapped), read_labels(labels)
    if len(x) != len(y):
        raise K49Error(f"{images} holds {len(x)} images, but {labels} {len(y)} labels")
    return x, y


def names(split: str) -> tuple[str, str]:
    """Return the published file names of "train" or "test": images, labels."""
    return f"k49-{split}-imgs.npz", f"k49-{split}-labels.npz"


def read_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read images (N, 28, 28), memory-mapped if possible, and labels (N,) of "train" or "test".

    For files that lie under their published names, and were checked before.
    """
    images, labels = names(split)
    return read_pair(folder / images, folder / labels, mapped=True)


def write(path: Path, shape: tuple[int, ...], chunks: Iterable[np.ndarray]) -> None:
    """Write a uint8 array in the dataset's format, uncompressed: the same bytes on every machine.

    For the arguments see `write_rows`.
    """
    with (
        atomic_write(path) as tmp,
        zipfile.ZipFile(tmp, "w") as archive,
        archive.open(zipfile.ZipInfo(MEMBER), "w", force_zip64=True) as file,
    ):
        write_rows(file, shape, chunks)


def _read(path: Path, item: tuple[int, ...], mapped: bool = False) -> np.ndarray:
    expected = f"expected uint8 of shape {('N', *item)}".replace("'", "").replace(",)", ")")
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(MEMBER)
            with archive.open(info) as file:
                shape, dtype = _header(file)
                if dtype != np.uint8 or shape[1:] != item or not 1 <= shape[0] <= MOST_IMAGES:
                    raise K49Error(f"{path}: holds {dtype} of shape {shape}, {expected}")
                if mapped and info.compress_type == zipfile.ZIP_STORED:
                    return _mapped(path, _start(path, info) + file.tell(), shape)
                content = file.read(int(np.prod(shape)) + 1)  # never more than the header claims
    except FileNotFoundError as error:
        raise K49Error(f"{path}: not found") from error
    except KeyError as error:
        raise K49Error(f"{path}: holds no array arr_0, {expected}") from error
    except UNREADABLE as error:
        why = " ".join(str(error).split())  # NumPy's messages have line breaks
        raise K49Error(f"{path}: not a readable npz file: {why}") from error
    if len(content) != np.prod(shape):
        raise K49Error(f"{path}: holds {len(content)} bytes of data, its header says {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _mapped(path: Path, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    if path.stat().st_size < offset + np.prod(shape):
        raise ValueError("shorter than its header says")
    return np.memmap(path, np.uint8, "r", offset, shape)


def _start(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where a member's content starts: after a header of 30 bytes, name and extras."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<2H", file.read(4))
    return info.header_offset + 30 + name + extra


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Read shape and dtype of a `.npy` stream in C order; nothing is unpickled."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"npy format version {version} is not known")
    shape, fortran_order, dtype = read(file)
    if fortran_order and len(shape) > 1:
        raise ValueError("the array is in Fortran order, expected C order")
    return shape or (0,), dtype
