"""Validation split off train: counts, shares, seeds and the arrays that are written."""

from pathlib import Path

import numpy as np
import pytest

from k49 import classes, npz
from k49.errors import K49Error
from k49.files import read_npy
from k49.split import one_hot, split_dataset, split_indices

SHARE = 0.16589  # the report's
K49_LABELS = np.repeat(np.arange(49, dtype=np.uint8), classes.TRAIN_COUNTS)


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


def write_raw(raw: Path, train: tuple, test: tuple) -> Path:
    for split, (images, labels) in (("train", train), ("test", test)):
        npz.write(raw / f"k49-{split}-imgs.npz", images)
        npz.write(raw / f"k49-{split}-labels.npz", labels)
    return raw


@pytest.fixture(scope="module")
def k49_split():
    return split_indices(K49_LABELS, SHARE, 49)


def test_counts_are_those_of_the_report(k49_split):
    train, val = k49_split
    assert (len(train), len(val)) == (193_818, 38_547)
    assert len(val) == classes.TEST_COUNTS.sum()


def test_parts_are_disjoint_and_complete(k49_split):
    together = np.concatenate(k49_split)
    assert np.array_equal(np.sort(together), np.arange(len(K49_LABELS)))


def test_every_class_keeps_its_share(k49_split):
    for part in k49_split:
        expected = classes.TRAIN_COUNTS * (len(part) / len(K49_LABELS))
        found = np.bincount(K49_LABELS[part], minlength=49)
        assert np.abs(found - expected).max() < 1


def test_parts_are_shuffled(k49_split):
    for part in k49_split:
        order = np.corrcoef(part, np.arange(len(part)))[0, 1]
        assert abs(order) < 0.05
        assert len(np.unique(K49_LABELS[part[:500]])) > 40


def test_seeded(k49_split):
    same = split_indices(K49_LABELS.copy(), SHARE, 49)
    other = split_indices(K49_LABELS, SHARE, 50)
    for part, again, another in zip(k49_split, same, other, strict=True):
        assert np.array_equal(part, again)
        assert not np.array_equal(np.sort(part), np.sort(another))


def test_absent_classes_are_no_obstacle():
    labels = np.repeat(np.array([5, 40], np.uint8), 10)
    train, val = split_indices(labels, 0.3, 0)
    assert np.bincount(labels[train])[[5, 40]].tolist() == [7, 7]
    assert np.bincount(labels[val])[[5, 40]].tolist() == [3, 3]


def test_one_hot():
    rows = one_hot(np.array([0, 48, 7], np.uint8))
    assert rows.shape == (3, 49)
    assert rows.dtype == np.uint8
    assert rows.sum(1).tolist() == [1, 1, 1]
    assert rows[0, 0] == rows[1, 48] == rows[2, 7] == 1


@pytest.fixture
def written(tmp_path):
    """Raw arrays, the summary of their split, and the folder it went to."""
    train, test = tiny(600, 1), tiny(90, 2)
    raw = write_raw(tmp_path / "raw", train, test)
    return train, test, split_dataset(raw, tmp_path / "split", 0.2, 49), tmp_path / "split"


def test_written_arrays(written):
    _, _, summary, out = written
    assert {path.name for path in out.iterdir()} == {
        f"{part}_{kind}.npy" for part in ("train", "val", "test") for kind in ("images", "labels")
    }
    for part, number in {"train": 480, "val": 120, "test": 90}.items():
        images, labels = read_npy(out / f"{part}_images.npy"), read_npy(out / f"{part}_labels.npy")
        assert isinstance(images, np.memmap)
        assert isinstance(labels, np.memmap)
        assert images.shape == (number, 28, 28, 1)
        assert labels.shape == (number, 49)
        assert images.dtype == labels.dtype == np.uint8
        assert (labels.sum(1) == 1).all()
        assert summary["images"][part] == number


def test_written_images_keep_their_labels(written):
    (images, labels), test, _, out = written
    rows = []
    for part in ("train", "val"):
        x, y = read_npy(out / f"{part}_images.npy"), read_npy(out / f"{part}_labels.npy")
        row = x[:, 0, 0, 0].astype(int) * 256 + x[:, 0, 1, 0]
        assert np.array_equal(x[..., 0], images[row])
        assert np.array_equal(y.argmax(1), labels[row])
        rows.append(row)
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(600))
    assert np.array_equal(read_npy(out / "test_images.npy")[..., 0], test[0])
    assert np.array_equal(read_npy(out / "test_labels.npy").argmax(1), test[1])


def test_summary(written):
    (_, labels), (_, test_labels), summary, _ = written
    assert summary["classes"] == 5
    assert summary["image_shape"] == [28, 28, 1]
    of_class = {part: np.array(number) for part, number in summary["images_of_class"].items()}
    assert np.array_equal(of_class["train"] + of_class["val"], np.bincount(labels, minlength=49))
    assert np.array_equal(of_class["test"], np.bincount(test_labels, minlength=49))


def test_written_bytes_are_the_same_again(written, tmp_path):
    _, _, _, out = written
    split_dataset(tmp_path / "raw", tmp_path / "again", 0.2, 49)
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


@pytest.mark.parametrize("share", [0.001, 0.04, 0.96, 0.999])
def test_share_that_leaves_a_part_without_a_class(share):
    labels = np.tile(np.arange(10, dtype=np.uint8), 10)
    assert "split.validation_share" in refusal(split_indices, labels, share, 49)


def test_class_with_one_image():
    labels = np.array([0] * 50 + [1] * 50 + [2], np.uint8)
    text = refusal(split_indices, labels, 0.2, 49)
    assert "class 2" in text
    assert "う" in text


def test_single_class():
    assert "class" in refusal(split_indices, np.zeros(100, np.uint8), 0.2, 49)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", ["imgs", "labels"])
def test_missing_file(tmp_path, split, kind):
    raw = write_raw(tmp_path / "raw", tiny(60, 1), tiny(30, 2))
    (raw / f"k49-{split}-{kind}.npz").unlink()
    text = refusal(split_dataset, raw, tmp_path / "split", 0.2, 49)
    assert f"k49-{split}-{kind}.npz" in text
    assert not (tmp_path / "split").exists()


@pytest.mark.parametrize("split", ["train", "test"])
def test_unequal_lengths(tmp_path, split):
    parts = {"train": tiny(60, 1), "test": tiny(30, 2)}
    images, labels = parts[split]
    raw = write_raw(tmp_path / "raw", **parts | {split: (images, labels[:-1])})
    text = refusal(split_dataset, raw, tmp_path / "split", 0.2, 49)
    assert f"k49-{split}-labels.npz" in text
    assert not (tmp_path / "split").exists()
