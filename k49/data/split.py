"""Splits validation off train, stratified."""

from collections.abc import Sequence

import numpy as np

from k49.data import Subset
from k49.errors import K49Error
from k49.settings import Split

Raw = tuple[np.ndarray, np.ndarray]  # images (N, H, W) uint8, labels (N,) uint8


def split_dataset(
    train: Raw, test: Raw, classes: Sequence[str], settings: Split
) -> dict[str, Subset]:
    """Split validation off train; test stays as it is.

    Args:
        train, test: as fetched.
        classes: their names.
        settings: the share or the fold of train that becomes validation, and seed.

    Returns:
        "train", "val" and "test".

    Raises:
        K49Error: a class has too few images.
    """
    kept, held_out = split_indices(train[1], classes, settings)
    train, test = ((images[..., np.newaxis], labels) for images, labels in (train, test))
    return {
        "train": Subset(*train, kept, len(classes)),
        "val": Subset(*train, held_out, len(classes)),
        "test": Subset(*test, np.arange(len(test[0])), len(classes)),
    }


def describe(splits: dict[str, Subset]) -> dict:
    """Count the images of each split, in all and for each class, in the order of the classes."""
    of_class = {
        name: np.bincount(subset.labels[subset.rows], minlength=subset.classes)
        for name, subset in splits.items()
    }
    return {
        "images": {name: len(subset) for name, subset in splits.items()},
        "classes": int(np.count_nonzero(of_class["train"] + of_class["val"])),
        "image_shape": list(splits["train"].images.shape[1:]),
        "images_of_class": {name: counts.tolist() for name, counts in of_class.items()},
    }


def split_indices(
    labels: np.ndarray, classes: Sequence[str], settings: Split
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of train and of validation, both shuffled: every class keeps its share.

    K49's 232,365 labels at a share of 0.16589 give 193,818 and 38,547, as in the report. The folds
    of one seed together hold each image once.
    """
    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    share, folds = settings.validation_share, settings.folds
    in_folds = settings.fold is not None
    needed, val = (folds, len(labels) // folds) if in_folds else (2, round(share * len(labels)))
    if len(present) < 2:
        raise K49Error(f"train labels hold only {len(present)} class, at least two are needed")
    if (rare := present[counts[present] < needed]).size:
        name, images = classes[rare[0]], counts[rare[0]]
        if in_folds:
            raise K49Error(
                f"class {rare[0]} ({name}) has {images} train images, too few for {folds} folds: "
                "lower split.folds"
            )
        raise K49Error(f"class {rare[0]} ({name}) has a single train image, two are needed")
    if min(val, len(labels) - val) < len(present):
        setting = f"split.folds {folds}" if in_folds else f"split.validation_share {share}"
        raise K49Error(
            f"{setting} of {len(labels)} images leaves {val} for validation: both need at least "
            f"one for each of the {len(present)} classes"
        )
    from sklearn.model_selection import (  # takes a second, which Ctrl-C may end
        StratifiedKFold,
        train_test_split,
    )

    rows = np.arange(len(labels))
    if settings.fold is None:
        return train_test_split(rows, test_size=val, stratify=labels, random_state=settings.seed)
    parts = StratifiedKFold(folds, shuffle=True, random_state=settings.seed)
    kept, held_out = list(parts.split(rows, labels))[settings.fold]
    rng = np.random.default_rng(settings.seed)
    return rng.permutation(kept), rng.permutation(held_out)
