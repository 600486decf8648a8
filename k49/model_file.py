"""A model's file, which may be anybody's: opened and bounded before Keras sees it."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from k49.errors import K49Error

MOST_BYTES = 2 << 30  # of all parts, unpacked: 20 layers of 4,096 units are 1.3 GB
MOST_CONFIG = 1 << 24  # of the network's description
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
UNREADABLE = (  # what zipfile and zlib raise for archives that are damaged or encrypted
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    OverflowError,
)


@dataclass(frozen=True)
class Detector:
    """What tells outliers, images unlike all that the model was trained on.

    A logistic regression on what the layers make of an image, as `training.detector` says.
    """

    FILE: ClassVar = "detector.npz"  # in the archive

    weights: np.ndarray  # (F,) float32
    bias: np.ndarray  # () float32


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a model's archive.

    Raises:
        K49Error: it isn't there, is another file, unpacks to too much, or is found to be damaged in
            the caller's block.
    """
    if not path.is_file():
        raise K49Error(f"{path}: no such model; `dvc repro` trains it")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {part.filename: part.file_size for part in archive.infolist()}
            if missing := {CONFIG, WEIGHTS} - set(sizes):
                raise K49Error(f"{path}: not a Keras model, it has no {min(missing)}")
            if sum(sizes.values()) > MOST_BYTES or sizes[CONFIG] > MOST_CONFIG:
                raise K49Error(
                    f"{path}: unpacks to {sum(sizes.values()):,} bytes; {MOST_BYTES:,} at most, "
                    f"and {MOST_CONFIG:,} of {CONFIG}"
                )
            yield archive
    except UNREADABLE as error:
        raise K49Error(f"{path}: not a Keras model that can be read: {error}") from error


def check(path: Path) -> tuple[bytes, int]:
    """Check every part's checksum; return the network's description, and the weights' bytes.

    Raises:
        K49Error: as `opened`.
    """
    with opened(path) as archive:
        if damaged := archive.testzip():
            raise K49Error(f"{path}: damaged, its {damaged} has another checksum")
        return archive.read(CONFIG), archive.getinfo(WEIGHTS).file_size


def read_part(path: Path, name: str, most: int) -> bytes | None:
    """Read a part of `most` bytes at most; None if there is none of that name.

    Raises:
        K49Error: as `opened`, or the part is larger.
    """
    with opened(path) as archive:
        if name not in archive.namelist():
            return None
        if (size := archive.getinfo(name).file_size) > most:
            raise K49Error(f"{path}: {name} has {size:,} bytes, {most:,} at most")
        return archive.read(name)
