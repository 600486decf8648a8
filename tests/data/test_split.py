"""Validation split off train: counts, shares, seeds and the arrays that are written."""

import numpy as np
import pytest

from k49.data import one_hot, standin
from k49.data.split import describe, split_dataset, split_indices
from k49.errors import K49Error
from k49.settings import Split
from tests.helpers import CHARACTERS

SHARE = 0.16589  # the report's
TRAIN_COUNTS, TEST_COUNTS = (standin.counts(split, 1.0) for split in ("train", "test"))
K49_LABELS = np.repeat(np.arange(49, dtype=np.uint8), TRAIN_COUNTS)


def settings(**changes) -> Split:
    return Split(**{"seed": 49, "validation_share": SHARE, **changes})


def refusal(call, *args) -> str:
    with pytest.raises(K49Error) as caught:
        call(*args)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def tiny(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images, each with its row number in the first two pixels, and labels of 5 classes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (number, 28, 28), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(number), 256)
    return images, np.resize(np.array([0, 3, 3, 17, 47, 48], np.uint8), number)


@pytest.fixture(scope="module")
def k49_split():
    return split_indices(K49_LABELS, CHARACTERS, settings())


def test_counts_are_those_of_the_report(k49_split):
    train, val = k49_split
    assert (len(train), len(val)) == (193_818, 38_547)
    assert len(val) == TEST_COUNTS.sum()


def test_parts_are_disjoint_and_complete(k49_split):
    together = np.concatenate(k49_split)
    assert np.array_equal(np.sort(together), np.arange(len(K49_LABELS)))


def test_every_class_keeps_its_share(k49_split):
    for part in k49_split:
        expected = TRAIN_COUNTS * (len(part) / len(K49_LABELS))
        found = np.bincount(K49_LABELS[part], minlength=49)
        assert np.abs(found - expected).max() < 1


def test_parts_are_shuffled(k49_split):
    for part in k49_split:
        order = np.corrcoef(part, np.arange(len(part)))[0, 1]
        assert abs(order) < 0.05
        assert len(np.unique(K49_LABELS[part[:500]])) > 40


def test_seeded(k49_split):
    same = split_indices(K49_LABELS.copy(), CHARACTERS, settings())
    other = split_indices(K49_LABELS, CHARACTERS, settings(seed=50))
    for part, again, another in zip(k49_split, same, other, strict=True):
        assert np.array_equal(part, again)
        assert not np.array_equal(np.sort(part), np.sort(another))


def test_absent_classes_are_no_obstacle():
    labels = np.repeat(np.array([5, 40], np.uint8), 10)
    train, val = split_indices(labels, CHARACTERS, settings(seed=0, validation_share=0.3))
    assert np.bincount(labels[train])[[5, 40]].tolist() == [7, 7]
    assert np.bincount(labels[val])[[5, 40]].tolist() == [3, 3]


def test_folds_judge_each_image_once():
    labels = K49_LABELS[::97]
    parts = [split_indices(labels, CHARACTERS, settings(folds=3, fold=i)) for i in range(3)]
    together = np.concatenate([val for _, val in parts])
    assert np.array_equal(np.sort(together), np.arange(len(labels)))
    for train, val in parts:
        assert not np.intersect1d(train, val).size
        assert np.abs(np.bincount(labels[val]) - np.bincount(labels) / 3).max() < 1
        assert abs(np.corrcoef(val, np.arange(len(val)))[0, 1]) < 0.1, "shuffled"
    few = np.repeat(np.array([5, 40], np.uint8), [10, 4])
    assert refusal(split_indices, few, CHARACTERS, settings(folds=5, fold=0)).endswith(
        "has 4 train images, too few for 5 folds: lower split.folds"
    )
    with pytest.raises(ValueError, match="fold is 5, but folds are 0 to 4"):
        settings(fold=5)


def test_one_hot():
    rows = one_hot(np.array([0, 48, 7], np.uint8), 49)
    assert rows.shape == (3, 49)
    assert rows.dtype == np.uint8
    assert rows.sum(1).tolist() == [1, 1, 1]
    assert rows[0, 0] == rows[1, 48] == rows[2, 7] == 1


@pytest.fixture(scope="module")
def raw():
    """Train and test as published, small."""
    return tiny(600, 1), tiny(90, 2)


@pytest.fixture(scope="module")
def splits(raw):
    return split_dataset(*raw, CHARACTERS, Split(seed=49, validation_share=0.2))


def test_shapes(splits):
    assert {name: len(dataset) for name, dataset in splits.items()} == {
        "train": 480,
        "val": 120,
        "test": 90,
    }
    for part in splits.values():
        images, labels = arrays(part)
        assert images.shape == (len(part), 28, 28, 1)
        assert labels.shape == (len(part), 49)
        assert images.dtype == labels.dtype == np.uint8
        assert (labels.sum(1) == 1).all()


def arrays(part):
    return np.concatenate(list(part.image_chunks())), np.concatenate(list(part.label_chunks()))


def test_no_image_is_copied(raw, splits):
    """Was: every split a copy, so that memory grew with the data."""
    for name, (images, _) in {"train": raw[0], "val": raw[0], "test": raw[1]}.items():
        assert np.shares_memory(splits[name].images, images)


def test_images_keep_their_labels(raw, splits):
    (images, labels), test = raw
    rows = []
    for name in ("train", "val"):
        x, y = arrays(splits[name])
        row = x[:, 0, 0, 0].astype(int) * 256 + x[:, 0, 1, 0]
        assert np.array_equal(x[..., 0], images[row])
        assert np.array_equal(y.argmax(1), labels[row])
        rows.extend(row)
    assert sorted(rows) == list(range(600))
    x, y = arrays(splits["test"])
    assert np.array_equal(x[..., 0], test[0])  # in the published order
    assert np.array_equal(y.argmax(1), test[1])


def test_description_counts_what_is_there(raw, splits):
    (_, labels), (_, test_labels) = raw
    summary = describe(splits)
    assert summary["images"] == {"train": 480, "val": 120, "test": 90}
    assert summary["classes"] == 5
    assert summary["image_shape"] == [28, 28, 1]
    of_class = {name: np.array(number) for name, number in summary["images_of_class"].items()}
    assert np.array_equal(of_class["train"] + of_class["val"], np.bincount(labels, minlength=49))
    assert np.array_equal(of_class["test"], np.bincount(test_labels, minlength=49))


@pytest.mark.parametrize("share", [0.001, 0.04, 0.96, 0.999])
def test_share_that_leaves_a_part_without_a_class(share):
    labels = np.tile(np.arange(10, dtype=np.uint8), 10)
    assert "split.validation_share" in refusal(
        split_indices, labels, CHARACTERS, settings(validation_share=share)
    )


def test_class_with_one_image():
    labels = np.array([0] * 50 + [1] * 50 + [2], np.uint8)
    text = refusal(split_indices, labels, CHARACTERS, settings(validation_share=0.2))
    assert "class 2" in text
    assert "う" in text


def test_single_class():
    assert "class" in refusal(
        split_indices, np.zeros(100, np.uint8), CHARACTERS, settings(validation_share=0.2)
    )
