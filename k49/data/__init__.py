"""Where images come from, and how they are split; here, what the other rooms know of them."""

from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import numpy as np

from k49.files import read_npy

IMAGE_SHAPE = (28, 28, 1)
NUM_CLASSES = 49


@dataclass(frozen=True)
class Dataset:
    """One split, ready to train on."""

    images: np.ndarray  # (N, 28, 28, 1) uint8, light ink on black
    labels: np.ndarray  # (N, 49) uint8, one-hot

    def __reduce__(self) -> tuple:
        """Pickled as the names of its files where it is mapped: another process maps them, too."""
        return _opened, tuple(
            str(each.filename) if isinstance(each.base, mmap) else each  # a part is sent as it is
            for each in (self.images, self.labels)
        )

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Part:
    """A split as rows of what was published, which may be mapped: not an image is copied."""

    images: np.ndarray  # (M, 28, 28, 1) uint8, of all that was published together
    labels: np.ndarray  # (M, 49) uint8, one-hot
    rows: np.ndarray  # (N,) which of them, in which order

    def __len__(self) -> int:
        return len(self.rows)


def _opened(*arrays: np.ndarray | str) -> Dataset:
    return Dataset(*(read_npy(Path(each)) if isinstance(each, str) else each for each in arrays))
