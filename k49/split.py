"""Splits validation off train and writes arrays that training can map into memory."""

from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from k49 import classes, npz
from k49.errors import K49Error
from k49.files import write_npy


def split_dataset(raw: Path, out: Path, validation_share: float, seed: int) -> dict:
    """Validate the dataset in `raw`, split validation off train, write images and one-hot labels.

    Writes `{train,val,test}_images.npy`, (N, 28, 28, 1) uint8, and `{train,val,test}_labels.npy`,
    one-hot (N, 49) uint8, into `out`.

    Args:
        raw: folder with the four files `k49-{train,test}-{imgs,labels}.npz`.
        out: folder to write to.
        validation_share: share of train that becomes validation, stratified by class.
        seed: of the random split.

    Returns:
        images of each part, in all and for each class (in the order of the classes), and shapes.

    Raises:
        K49Error: a file is missing or holds something else, or a class has too few images.
    """
    images, labels = npz.read_pair(raw / "k49-train-imgs.npz", raw / "k49-train-labels.npz")
    train, val = split_indices(labels, validation_share, seed)
    test_images, test_labels = npz.read_pair(raw / "k49-test-imgs.npz", raw / "k49-test-labels.npz")

    parts = {
        "train": (images[train], labels[train]),
        "val": (images[val], labels[val]),
        "test": (test_images, test_labels),
    }
    for part, (x, y) in parts.items():
        write_npy(out / f"{part}_images.npy", x[..., np.newaxis])
        write_npy(out / f"{part}_labels.npy", one_hot(y))
    return {
        "images": {part: len(y) for part, (_, y) in parts.items()},
        "classes": len(np.unique(labels)),
        "image_shape": [*images.shape[1:], 1],
        "images_of_class": {
            part: np.bincount(y, minlength=classes.NUM_CLASSES).tolist()
            for part, (_, y) in parts.items()
        },
    }


def split_indices(
    labels: np.ndarray, validation_share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of train and of validation, both shuffled: every class keeps its share.

    K49's 232,365 labels at a share of 0.16589 give 193,818 and 38,547, as in the report.

    Raises:
        K49Error: a class has fewer than two images, or the share leaves a part without a class.
    """
    number = np.bincount(labels, minlength=classes.NUM_CLASSES)
    present = np.flatnonzero(number)
    val = round(validation_share * len(labels))
    if len(present) < 2:
        raise K49Error(f"train labels hold only {len(present)} class, at least two are needed")
    if (rare := present[number[present] < 2]).size:
        character = classes.CHARACTERS[rare[0]]
        raise K49Error(f"class {rare[0]} ({character}) has a single train image, two are needed")
    if min(val, len(labels) - val) < len(present):
        raise K49Error(
            f"split.validation_share {validation_share} of {len(labels)} images leaves {val} for "
            f"validation: both parts need at least one for each of the {len(present)} classes"
        )
    everything = np.arange(len(labels))
    return train_test_split(everything, test_size=val, stratify=labels, random_state=seed)


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Labels (N,) as one-hot rows (N, 49) uint8."""
    return np.eye(classes.NUM_CLASSES, dtype=np.uint8)[labels]
