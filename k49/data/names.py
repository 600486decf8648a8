"""What a dataset and its classes are called, by what they are and wherever they came from."""

import csv
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from k49.data import descriptions, layouts
from k49.data.arrays import File
from k49.data.characters import code_point
from k49.data.checksums import matches
from k49.data.descriptions import Description
from k49.data.places import Found
from k49.data.raw import Stored
from k49.errors import K49Error
from k49.settings import Classes, Data, DatasetInfo
from k49.shown import printable

MOST_TITLE = 120  # characters
MOST_CLASSMAP_BYTES = 1 << 16


def description_of(files: dict[str, File], own: Path) -> Description | None:
    """Return the description whose files these are, by their MD5 sums; None if there is none."""
    for description in descriptions.known(own).values():
        sums = description.files
        if (
            sums
            and set(sums) <= set(files)
            and all(matches(files[name].path, checksum) for name, checksum in sums.items())
        ):
            return description
    return None


def class_names(found: Found, own: Path) -> Classes:
    """Return the names of the classes beside npz files of K49's form; none for other files.

    They are those of the class map, else of the description that is called as the files are.
    """
    prefix, name = layouts.class_map(found.arrays)
    if name in found.files:
        return read_class_map(found.files[name])
    description = descriptions.find(prefix, own) if prefix else None
    return description.classes if description else []


def read_class_map(file: File) -> Classes:
    """Read a file as `k49_classmap.csv`: index, code point and character of each class.

    Raises:
        K49Error: it is something else.
    """
    with file.path.open("rb") as content:
        text = content.read(MOST_CLASSMAP_BYTES).decode("utf-8", errors="replace")
    rows = list(csv.DictReader(text.splitlines()))
    characters = [row.get("char") or "" for row in rows]
    expected = [
        {"index": str(i), "codepoint": code_point(character), "char": character}
        for i, character in enumerate(characters)
        if len(character) == 1
    ]
    if not rows or rows != expected or len(set(characters)) < len(characters):
        raise K49Error(
            f"{file.shown}: not a class map; expected lines of index, codepoint and char, as "
            "0,U+3042,あ, each character once"
        )
    return characters


def dataset_info(description: Description | None, stored: Stored, data: Data) -> DatasetInfo:
    """Return what is known of a dataset, with the name that stands beside every figure on it.

    The described title, alone if every file has its described MD5 sum, or all is drawn here, and
    the images stay as they are. Without a description it is the last name of the folder or the
    host: never a whole path, nor a user or a password. Then eight digits of a hash of the contents
    follow.
    """
    if description is None:
        host = urlsplit(data.source).hostname if "://" in data.source else None
        folder = Path(data.source).expanduser().resolve().name
        title, exact = printable(host or folder or "folder", MOST_TITLE), False
    else:
        title = description.title
        exact = bool(description.files) or data.source == "standin"
    unchanged = exact and not (data.invert or data.transpose)
    rights: dict[str, Any] = descriptions.rights(description)
    return DatasetInfo(
        name=title if unchanged else f"{title} ({stored.digest})",
        classes=stored.classes,
        image_size=list(stored.size),
        normalize=data.normalize or "ink",
        invert=data.invert,
        **rights,
    )
