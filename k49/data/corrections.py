"""Images that are left out, and labels that are corrected: CSV files in `labels/`.

They name images by the published split and the row in it, and are applied after validation is split
off: so the other images stay where they are.
"""

import csv
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from k49.data import Subset
from k49.errors import K49Error
from k49.io import MOST_JSON, read_bytes
from k49.settings import Cleaning, DatasetInfo
from k49.text import printable

SPLITS = ("train", "test")  # as published
MOST_BYTES = MOST_JSON  # a line of 60 bytes for each of K49's images
Counts = dict[str, dict[str, int]]  # of "excluded" and "relabelled" images, by split
COLUMNS = ("split", "index", "given")
LIKELY = "likely"  # the new label: the column of `k49 suspects`


@dataclass(frozen=True)
class LabelFile:
    where: str  # its name in errors
    lines: np.ndarray  # (N,) of each row, from 1
    split: np.ndarray  # (N,) "train" or "test"
    index: np.ndarray  # (N,) row in that split's arrays
    labels: np.ndarray  # (N, 1 or 2) the label as published, and the new one

    def __len__(self) -> int:
        return len(self.index)

    def of(self, split: str) -> "LabelFile":
        """Return the part on "train" or "test"."""
        here = self.split == split
        return LabelFile(
            self.where, self.lines[here], self.split[here], self.index[here], self.labels[here]
        )


@dataclass(frozen=True)
class Corrections:
    exclude: LabelFile | None
    relabel: LabelFile | None
    test: bool  # whether they are applied to test, too

    def apply(self, split: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Correct the labels of "train" or "test" as published.

        Args:
            split: its name.
            labels: (N,) uint8.

        Returns:
            Which images stay, (N,) bool; and the labels, (N,) uint8.

        Raises:
            K49Error: a file is of other data, or both name an image.
        """
        stay, corrected = np.ones(len(labels), bool), np.array(labels)
        if split == "test" and not self.test:
            return stay, corrected
        if self.exclude is not None:
            rows = checked_rows(self.exclude.of(split), labels)
            stay[rows] = False
        if self.relabel is not None:
            part = self.relabel.of(split)
            rows = checked_rows(part, labels)
            if self.exclude is not None and not stay[rows].all():
                i = int(np.flatnonzero(~stay[rows])[0])
                raise K49Error(
                    f"{part.where}, line {part.lines[i]}: {split} {rows[i]} is in "
                    f"{self.exclude.where}, too, which leaves it out; remove it from one of them"
                )
            corrected[rows] = part.labels[:, -1]
        return stay, corrected

    def rows(self, split: str) -> np.ndarray:
        """Return the rows of "train" or "test" that the files name: somebody looked at them."""
        files = filter(None, (self.exclude, self.relabel))
        return np.concatenate([np.empty(0, int), *(file.of(split).index for file in files)])

    def notes(self) -> Iterator[str]:
        """Say which rows have no effect."""
        for file in filter(None, (self.exclude, self.relabel)):
            if not self.test and (rows := len(file.of("test"))):
                yield (
                    f"{file.where}: {rows:,} of its rows are of test, which stays as it is, so "
                    "that figures stay comparable"
                )


def checked_rows(part: LabelFile, labels: np.ndarray) -> np.ndarray:
    """Return the rows that a part of a file names.

    Raises:
        K49Error: there are no such rows, or they have other labels.
    """
    outside = part.index >= len(labels)
    if outside.any():
        i = int(np.flatnonzero(outside)[0])
        raise K49Error(
            f"{part.where}, line {part.lines[i]}: {part.split[i]} {part.index[i]} is not there: "
            f"{part.split[i]} has {len(labels):,} images, counted from 0"
        )
    other = labels[part.index] != part.labels[:, 0]
    if other.any():
        i = int(np.flatnonzero(other)[0])
        raise K49Error(
            f"{part.where}, line {part.lines[i]}: the label of {part.split[i]} {part.index[i]} is "
            f"another one than `given` says, and so are {np.count_nonzero(other) - 1:,} more: the "
            "file was made of other data"
        )
    return part.index


def contents(path: str) -> bytes:
    return read_bytes(Path(path), MOST_BYTES)


def read(
    cleaning: Cleaning, classes: Sequence[str], contents: Callable[[str], bytes] = contents
) -> Corrections:
    """Read the files that the settings name.

    Args:
        cleaning: the settings.
        classes: their names.
        contents: returns the content of a file.

    Raises:
        K49Error: a file isn't there, or a line of it is faulty.
    """
    exclude, relabel = cleaning.exclude, cleaning.relabel
    return Corrections(
        exclude=parse(contents(exclude), exclude, classes) if exclude else None,
        relabel=parse(contents(relabel), relabel, classes, LIKELY) if relabel else None,
        test=cleaning.clean_test is not None,
    )


def parse(content: bytes, where: str, classes: Sequence[str], *more: str) -> LabelFile:
    """Parse CSV with a header, as `k49 suspects --format csv` prints it.

    Args:
        content: UTF-8, with a byte order mark or without; comma, semicolon or tab between cells.
        where: its name in errors.
        classes: their names, which stand in `given` and `likely`.
        more: columns that it needs besides split, index and given.

    Raises:
        K49Error: a column is missing, or a line is faulty; names the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise K49Error(f"{where}: not UTF-8 ({error}); save it as CSV UTF-8") from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True)
    rows = list[tuple[int, str, int, list[int]]]()
    first_lines = dict[tuple[str, int], int]()
    label_of = {name: label for label, name in enumerate(classes)}
    needed = (*COLUMNS, *more)
    try:
        header = list(reader.fieldnames or ())
        if any(header.count(name) != 1 for name in needed):
            raise K49Error(
                f"{where}: its first line should name {', '.join(needed)} once each, as `k49 "
                "suspects --format csv` does"
            )
        for row in reader:
            here = f"{where}, line {reader.line_num}"
            cells = {name: unicodedata.normalize("NFC", row[name] or "").strip() for name in needed}
            split, index, *labels = parse_row(cells, label_of, here)
            first = first_lines.setdefault((split, index), reader.line_num)
            if first != reader.line_num:
                raise K49Error(f"{here}: the same image as in line {first}")
            rows.append((reader.line_num, split, index, labels))
    except csv.Error as error:
        raise K49Error(f"{where}: not valid CSV: {error}") from error
    return LabelFile(
        where,
        lines=np.array([line for line, _, _, _ in rows], int),
        split=np.array([split for _, split, _, _ in rows], "<U5"),
        index=np.array([index for _, _, index, _ in rows], int),
        labels=np.array([labels for _, _, _, labels in rows], np.uint8).reshape(-1, 1 + len(more)),
    )


def parse_row(
    cells: dict[str, str], label_of: dict[str, int], where: str
) -> tuple[str, int, *tuple[int, ...]]:
    """Return split, index and labels of a line.

    Raises:
        K49Error: a cell is faulty.
    """
    split, index, *names = cells.values()
    if split not in SPLITS:
        raise K49Error(f"{where}: split is {printable(split, 40)!r}, expected train or test")
    if not (index.isascii() and index.isdecimal() and len(index) < 10):
        raise K49Error(
            f"{where}: index is {printable(index, 40)!r}, expected a whole number, from 0"
        )
    for name in names:
        if name not in label_of:
            raise K49Error(
                f"{where}: {printable(name, 40)!r} is the name of no class of this dataset"
            )
    return split, int(index), *(label_of[name] for name in names)


def correct(
    splits: dict[str, Subset], corrections: Corrections, classes: Sequence[str]
) -> tuple[dict[str, Subset], Counts]:
    """Leave images out of splits, and correct labels.

    Args:
        splits: "train", "val" and "test", as `split_dataset` returns them.
        corrections: to apply.
        classes: their names.

    Returns:
        The splits, and how many images of each were "excluded" and "relabelled"; nothing, if there
        are no corrections.

    Raises:
        K49Error: a file is of other data, or a split keeps no image of a class.
    """
    if not (corrections.exclude or corrections.relabel):
        return splits, {}
    corrected = dict[str, Subset]()
    counts: Counts = {"excluded": {}, "relabelled": {}}
    published = {split: corrections.apply(split, splits[split].labels) for split in SPLITS}
    for name, subset in splits.items():
        stay, labels = published["test" if name == "test" else "train"]
        kept = subset.rows[stay[subset.rows]]
        had, has = (
            np.bincount(of[rows], minlength=subset.classes)
            for of, rows in ((subset.labels, subset.rows), (labels, kept))
        )
        if (wrong := np.flatnonzero((had > 0) != (has > 0))).size:
            label = wrong[0]
            raise K49Error(
                f"class {label} ({classes[label]}) has {had[label]:,} {name} images, and with the "
                f"corrections {has[label]:,}: each split needs images of the same classes as before"
            )
        corrected[name] = replace(subset, labels=labels, rows=kept)
        counts["excluded"][name] = len(subset) - len(kept)
        counts["relabelled"][name] = int(np.count_nonzero(labels[kept] != subset.labels[kept]))
    return corrected, counts


def named(info: DatasetInfo, counts: Counts) -> DatasetInfo:
    """Name the data of a corrected test: figures on it carry that name everywhere."""
    if not any(of_split.get("test") for of_split in counts.values()):
        return info
    return info.model_copy(update={"name": f"{info.name}, test corrected"})
