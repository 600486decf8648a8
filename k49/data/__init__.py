"""Where images come from, and how they are split; here, the types that all rooms use."""

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import numpy as np

from k49.io import read_npy

CHUNK_SIZE = 2048  # images that are read, written or evaluated at once


@dataclass(frozen=True)
class Dataset:
    """One split, ready to train on."""

    images: np.ndarray  # (N, H, W, 1) uint8, light ink on black
    labels: np.ndarray  # (N, C) uint8, one-hot

    def __reduce__(self) -> tuple:
        """Pickle memory-mapped arrays as the names of their files: another process maps them."""
        return _opened, tuple(
            str(array.filename)
            if isinstance(array.base, mmap)
            else array  # a part is sent as it is
            for array in (self.images, self.labels)
        )

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Subset:
    """A split as rows of what was fetched, which may be mapped: not an image is copied."""

    images: np.ndarray  # (M, H, W, 1) uint8, of all that was fetched together
    labels: np.ndarray  # (M,) uint8, 0 to classes - 1
    rows: np.ndarray  # (N,) which of them, in which order
    classes: int

    def __len__(self) -> int:
        return len(self.rows)

    def image_chunks(self) -> Iterator[np.ndarray]:
        """Return all images, (n, H, W, 1) uint8, CHUNK_SIZE at a time."""
        return (self.images[self.rows[chunk]] for chunk in chunks(len(self)))

    def label_chunks(self) -> Iterator[np.ndarray]:
        """Return all labels as one-hot rows (n, classes) uint8, CHUNK_SIZE at a time."""
        return (one_hot(self.labels[self.rows[chunk]], self.classes) for chunk in chunks(len(self)))


def chunks(n: int, size: int = CHUNK_SIZE) -> Iterator[slice]:
    """Return slices of `size` rows, the last one shorter, that together are `n` rows."""
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def spread(n: int, most: int) -> np.ndarray:
    """Return `most` of `n` rows, evenly spread; all, if there are no more."""
    return np.linspace(0, n - 1, min(most, n)).astype(int)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.uint8)[labels]


def _opened(*arrays: np.ndarray | str) -> Dataset:
    return Dataset(
        *(read_npy(Path(array)) if isinstance(array, str) else array for array in arrays)
    )
