"""Datasets as folders of pictures: a folder for each class, called as the class is, or U+3042.

Either `train/CLASS/*.png` and `test/CLASS/*.png`, or `CLASS/*.png`, of which a test split is made.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from k49.data.arrays import MOST_ROWS
from k49.data.raw import RawSplit
from k49.data.sources import visible
from k49.errors import K49Error
from k49.pictures.single import picture_size, read_single
from k49.process import in_threads
from k49.settings import SIDES, Data

PARTS = {"train", "test"}
CHUNK = 256  # pictures
Labelled = tuple[list[Path], np.ndarray]  # pictures, and the name of each one's class


def read_class_folders(
    folder: Path, size: Sequence[int] | None, data: Data
) -> tuple[RawSplit, RawSplit, str]:
    """Return train and test of a folder of class folders.

    Args:
        folder: which.
        size: height and width of the images to make; None: that of the pictures, if all are alike.
        data: how pictures become images, and how a test split is made where there is none.

    Returns:
        Both parts, whose pictures are read as they are asked for; and how test came about.

    Raises:
        K49Error: a folder is empty or of neither form, or the pictures' size isn't clear.
    """
    names = {path.name for path in visible(folder)}
    if names & PARTS and names != PARTS:
        raise K49Error(
            f"{folder} holds {', '.join(sorted(names))[:200]}; expected train and test with a "
            "folder for each class in both, or a folder for each class and neither"
        )
    if names == PARTS:
        (train, test), how = (labelled(folder / name) for name in ("train", "test")), ""
    else:
        train, test = split_off_test(labelled(folder), data, folder)
        how = (
            f"no test there: {len(test[0]):,} of {len(train[0]) + len(test[0]):,} pictures split "
            f"off, data.test_share {data.test_share}, stratified, seed {data.seed}"
        )
    chosen = size or data.image_size or common_size(folder, [*train[0], *test[0]])
    height, width = chosen
    parts = [part(folder, pictures, (height, width), data) for pictures in (train, test)]
    return parts[0], parts[1], how


def labelled(folder: Path) -> Labelled:
    """Return all pictures of class folders, and the names of their classes."""
    pictures, names = list[Path](), list[str]()
    for of_class in visible(folder):
        if not of_class.is_dir():
            raise K49Error(f"{of_class}: a file, expected folders only, one for each class")
        if not (contents := visible(of_class)):
            raise K49Error(f"{of_class}: an empty folder, expected pictures of the class")
        if folders := [path for path in contents if path.is_dir()]:
            raise K49Error(
                f"{folders[0]}: a folder in that of a class, expected pictures of the class only"
            )
        pictures += contents
        names += [class_name(of_class.name)] * len(contents)
        if len(pictures) > MOST_ROWS:
            raise K49Error(f"{folder}: holds more than {MOST_ROWS:,} pictures")
    if not pictures:
        raise K49Error(f"{folder}: an empty folder, expected a folder for each class")
    return pictures, np.array(names)


def class_name(folder: str) -> str:
    """Return the name of a class by its folder's: a code point, as U+3042, is a character.

    In Unicode's form NFC, which is not how macOS names folders.
    """
    code = re.fullmatch(r"U\+([0-9A-F]{4,5})", folder)
    return unicodedata.normalize("NFC", chr(int(code[1], 16)) if code else folder)


def split_off_test(
    labelled_pictures: Labelled, data: Data, folder: Path
) -> tuple[Labelled, Labelled]:
    """Split pictures into train and test, every class by the same share."""
    pictures, names = labelled_pictures
    classes, counts = np.unique(names, return_counts=True)
    if counts.min() < 2:
        rare = folder / classes[counts.argmin()]
        raise K49Error(f"{rare}: a single picture, to train and to test two are needed at least")
    n = round(data.test_share * len(names))
    if min(n, len(names) - n) < len(classes):
        raise K49Error(
            f"data.test_share {data.test_share} of {len(names)} pictures in {folder} leaves {n} to "
            f"test: train and test need at least one of each of the {len(classes)} classes"
        )
    rows = np.arange(len(names))
    kept, held_out = train_test_split(rows, test_size=n, stratify=names, random_state=data.seed)
    train, test = (
        ([pictures[row] for row in np.sort(part)], names[np.sort(part)])
        for part in (kept, held_out)
    )
    return train, test


def common_size(folder: Path, pictures: list[Path]) -> tuple[int, int]:
    """Return the pictures' height and width."""
    first = picture_size(pictures[0])
    for path in pictures[1:]:
        if (size := picture_size(path)) != first:
            raise K49Error(
                f"{path}: {size[0]} x {size[1]} pixels, {pictures[0]} has {first[0]} x {first[1]}; "
                "set data.image_size to the height and width to scale them to, as [28, 28]"
            )
    if first[0] not in SIDES or first[1] not in SIDES:
        raise K49Error(
            f"{folder}: pictures have {first[0]} x {first[1]} pixels, a network takes 8 to 64 both "
            "ways; set data.image_size to the height and width to scale them to, as [28, 28]"
        )
    return first


def part(folder: Path, labelled_pictures: Labelled, size: tuple[int, int], data: Data) -> RawSplit:
    pictures, names = labelled_pictures
    if data.normalize is None:
        raise ValueError("data.normalize is not chosen")
    read = partial(read_single, size=size, normalize=data.normalize, dark_ink=data.invert)

    def chunks() -> Iterator[np.ndarray]:
        for first in range(0, len(pictures), CHUNK):
            yield np.stack(list(in_threads(read, pictures[first : first + CHUNK])))

    where = str(folder)
    return RawSplit(where, where, len(pictures), size, chunks(), names)
