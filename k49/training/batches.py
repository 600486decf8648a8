"""The order in which training sees images, and how they come off the disk: a block at a time."""

from collections.abc import Iterator

import numpy as np

from k49.data import Dataset
from k49.progress import timed

BLOCK_IMAGES = 3200  # a call from Python is 50 steps at batch 64; 2.5 MB


class Batches:
    """Blocks of batches of a dataset, shuffled anew each epoch, and never a short batch.

    Images that are left at an epoch's end, less than a batch, begin the next epoch: an epoch has a
    step more or less than another, over two epochs no image is left out, and the program that takes
    the steps sees one shape only. Images that the last epoch leaves over are seen once less.

    Args:
        dataset: read where it lies, nothing is kept but an order of its images.
        batch_size: images a step; all of them if there are fewer.
        seed: of the order.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int) -> None:
        self.dataset = dataset
        self.batch_size = min(batch_size, len(dataset))
        self.block_steps = max(1, BLOCK_IMAGES // self.batch_size)
        self.rng = np.random.default_rng(seed)
        self.left = np.empty(0, np.int64)
        shape = (self.block_steps, self.batch_size)
        self.images = np.zeros((*shape, *dataset.images.shape[1:]), np.uint8)
        self.labels = np.zeros((*shape, dataset.labels.shape[1]), np.uint8)

    def steps(self, epochs: int) -> int:
        return epochs * len(self.dataset) // self.batch_size

    def epoch(self) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Yield an epoch's blocks: images (K, B, H, W, 1), labels (K, B, C), number of batches.

        The arrays are reused for each block; rows beyond the number of batches are stale.
        """
        order = np.concatenate([self.left, self.rng.permutation(len(self.dataset))])
        steps = len(order) // self.batch_size
        order, self.left = np.split(order, [steps * self.batch_size])
        order = order.reshape(steps, self.batch_size)
        for first in range(0, steps, self.block_steps):
            block = order[first : first + self.block_steps]
            with timed("reading"):
                self.images[: len(block)] = self.dataset.images[block]
                self.labels[: len(block)] = self.dataset.labels[block]
            yield self.images, self.labels, len(block)
