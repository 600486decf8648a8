"""Where images come from, and how they are split; here, what the other rooms know of them."""

from dataclasses import dataclass

import numpy as np

IMAGE_SHAPE = (28, 28, 1)
NUM_CLASSES = 49


@dataclass(frozen=True)
class Dataset:
    """One split, ready to train on."""

    images: np.ndarray  # (N, 28, 28, 1) uint8, light ink on black
    labels: np.ndarray  # (N, 49) uint8, one-hot

    def __len__(self) -> int:
        return len(self.images)
