"""The order of images: every one of them, in batches that are never short."""

import itertools

import numpy as np
import pytest

from k49.data import Dataset, one_hot
from k49.training.batches import BLOCK_IMAGES, Batches


def numbered(n: int) -> Dataset:
    """A dataset whose images and labels tell their number, below 2 to the 16."""
    images = np.zeros((n, 28, 28, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.divmod(np.arange(n), 256)
    return Dataset(images, one_hot(np.arange(n) % 49, 49))


def seen(batches: Batches) -> list[np.ndarray]:
    """The numbers of an epoch's images, an array a batch."""
    found = []
    for images, labels, n in batches.epoch():
        assert images.shape[:2] == labels.shape[:2] == (batches.block_steps, batches.batch_size)
        numbers = images[:n, :, 0, 0, 0].astype(int) * 256 + images[:n, :, 0, 1, 0]
        assert (labels[:n].argmax(2) == numbers % 49).all()
        found += list(numbers)
    return found


@pytest.mark.parametrize(("n", "size"), [(1000, 64), (7000, 64), (10, 3), (10, 10), (3201, 64)])
def test_every_image_is_seen_once_an_epoch_but_for_less_than_a_batch(n, size):
    """Was: a short last batch, which has a program compiled for it alone."""
    batches = Batches(numbered(n), size, seed=1)
    epochs = [seen(batches) for _ in range(5)]
    everything = np.concatenate([np.concatenate(epoch) for epoch in epochs])
    times = np.bincount(everything, minlength=n)
    assert set(times) <= {4, 5}
    assert (times == 4).sum() == 5 * n % size
    assert sum(map(len, epochs)) == batches.steps(5)
    for first, second in itertools.pairwise(epochs):
        both = np.concatenate([*first, *second])
        assert len(np.unique(both)) == n, "no image is left out over two epochs"


def test_fewer_images_than_a_batch():
    batches = Batches(numbered(10), 64, seed=1)
    assert [sorted(batch) for batch in seen(batches)] == [list(range(10))]


def test_a_batch_larger_than_a_block():
    batches = Batches(numbered(BLOCK_IMAGES + 10), BLOCK_IMAGES + 1, seed=1)
    assert batches.block_steps == 1
    assert [len(batch) for batch in seen(batches)] == [BLOCK_IMAGES + 1]


def test_order_is_of_the_seed_and_another_each_epoch():
    (one, again, other) = (Batches(numbered(100), 10, seed) for seed in (1, 1, 2))
    first, same, different = (np.concatenate(seen(batches)) for batches in (one, again, other))
    assert (first == same).all()
    assert (first != different).any()
    assert (np.concatenate(seen(one)) != first).any()
