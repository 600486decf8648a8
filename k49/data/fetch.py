"""Gets a dataset from `data.source`, and writes it into `data/raw` as `raw` describes.

It is drawn (`standin`), or named by a description (`k49`, `kmnist`, a user's own), or is a folder,
a file or an address, whose form is recognized.
"""

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from k49.data import descriptions, sources, spread
from k49.data import raw as raws
from k49.data.arrays import File, open_array
from k49.data.descriptions import Arrays, Description, matches
from k49.data.download import local_path, without_credentials
from k49.data.images import image_chunks, read_labels, size_of
from k49.data.raw import RawSplit, RawSummary
from k49.data.sources import SourceFiles
from k49.errors import K49Error
from k49.progress import counted
from k49.settings import Classes, Data, DatasetInfo, Normalize, Standin
from k49.text import code_point, printable

MEASURED = 50  # train images
MOST_TITLE = 120  # characters
MOST_CLASSMAP_BYTES = 1 << 16


def fetch(data: Data, drawn: Standin, raw: Path, downloads: Path, own: Path) -> str:
    """Put a dataset into `raw`, once all of it is checked.

    Args:
        data: the source, and how to download and read it.
        drawn: settings of the stand-in, if it is the source.
        raw: folder to fill.
        downloads: folder that keeps downloads for the next call, whole ones and unfinished ones.
        own: folder of the user's own descriptions.

    Returns:
        A line about the origin of the data, and how they were verified.

    Raises:
        K49Error: a file is missing or wrong. Names every place that was tried, and why it failed.
    """
    if data.source == "standin":
        return draw_standin(drawn, raw, data)
    description = descriptions.find(data.source, own)
    if description is not None and description.files:
        files = sources.from_mirrors(description, mirrors(description, data), data, downloads)
        return store_files(files, description, data, raw, own)
    place = data.source if description is None else mirrors(description, data)[0]
    if "://" not in place:
        place = str(sources.inner(local_path(place)))
    if sources.has_class_folders(folder := local_path(place)):
        return store_pictures(folder, description, data, raw)
    files = files_of(place, description.arrays if description else None, data, downloads, own)
    return store_files(files, description, data, raw, own)


def mirrors(description: Description, data: Data) -> list[str]:
    """Return where to look for a described dataset, in this order; one place without MD5 sums."""
    if not (places := data.mirrors or description.mirrors):
        raise K49Error(
            f"data.mirrors: empty, and the description of {data.source} has none; name at least "
            "one address or folder"
        )
    if len(places) > 1 and not description.files:
        raise K49Error(
            f"data.source: {data.source} has {len(places)} mirrors and no files with MD5 sums, so "
            "it can't be checked whether they hold the same; name one"
        )
    return places


def files_of(
    place: str, arrays: Arrays | None, data: Data, downloads: Path, own: Path
) -> SourceFiles:
    """Return the files of a folder, an npz or an address."""
    if place.startswith(("http://", "https://")):
        return sources.from_address(place.rstrip("/"), arrays, data, downloads)
    if "://" in place:
        raise K49Error(f"data.source: {without_credentials(place)}: only http and https addresses")
    path = local_path(place)
    if path.is_dir():
        return sources.from_folder(path, arrays)
    if path.is_file():
        return sources.from_file(path, arrays)
    names = ", ".join(["'standin'", *(f"'{n}'" for n in descriptions.known(own) if n != "standin")])
    raise K49Error(
        f"data.source: no folder {path} (from {Path.cwd()}); expected {names}, a folder, an npz "
        "file or an http(s) address"
    )


def store_files(
    source: SourceFiles, description: Description | None, data: Data, raw: Path, own: Path
) -> str:
    """Check files and write their arrays into `raw`; return a line about their origin."""
    description = description or description_of(source.files, own)
    names = description.classes if description else class_names(source, own)
    size = description.image_size if description else None
    with ExitStack() as stack:
        arrays = {
            name: stack.enter_context(open_array(source.files[place.file], place.key))
            for name, place in source.arrays.places().items()
        }
        parts = []
        for split in ("train", "test"):
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
            chosen = size_of(images, size)
            chunks, numbers = image_chunks(images, chosen), read_labels(labels)
            parts.append(RawSplit(images.where, labels.where, len(images), chosen, chunks, numbers))
        notes = [store(raw, parts, names, description, data)]
    notes += measure(raw, data.normalize)
    if source.again:
        for file in source.files.values():
            file.path.unlink(missing_ok=True)
    n = len(source.files)
    origin = f"{n} file{'s' if n > 1 else ''} {source.how} their contents"
    return "; ".join(filter(None, [origin, *notes]))


def store_pictures(folder: Path, description: Description | None, data: Data, raw: Path) -> str:
    """Check class folders and write their pictures into `raw`; return a line about their origin."""
    from k49.data.folders import read_class_folders  # imports what finds ink: only where it does

    size = description.image_size if description else None
    data = data.model_copy(update={"normalize": data.normalize or "scale"})
    train, test, how = read_class_folders(folder, size, data)
    names = description.classes if description else []
    note = store(raw, [train, test], names, description, data)
    origin = f"{train.n + test.n:,} pictures from {folder}"
    return "; ".join(filter(None, [origin, how, note]))


def store(
    raw: Path,
    parts: Sequence[RawSplit],
    names: Sequence[str],
    description: Description | None,
    data: Data,
) -> str:
    """Write train and test into `raw`; return notes for the user, or nothing."""
    train, test = (
        replace(part, chunks=counted(part.chunks, split, part.n))
        for part, split in zip(parts, ("train", "test"), strict=True)
    )
    stored = raws.write(raw, train, test, names, data)
    raws.write_info(raw, dataset_info(description, stored, data))
    return stored.note


def measure(raw: Path, requested: Normalize | None) -> list[str]:
    """Measure how pictures become images like the train images in `raw`; return notes.

    Images whose pixels go up to 1 or 16 only are made as bright as pictures are.

    Args:
        raw: with the arrays of a dataset.
        requested: data.normalize; with "ink" only its extent is measured.
    """
    from k49.pictures.single import normalization_of  # SciPy and scikit-image: only here

    white = raws.brighten(raw)
    images, _ = raws.read(raw, "train")
    measured, extent = normalization_of(images[spread(len(images), MEASURED)])
    chosen = requested or measured
    extent = extent if chosen == "ink" else 1.0
    changes = {"normalize": chosen, "ink_extent": extent, "white": white}
    info = raws.read_info(raw).model_copy(update=changes)
    raws.write_info(raw, info)
    notes = [f"pixels go up to {white} only, which becomes 255"] if white < 255 else []
    if chosen == "scale":
        notes.append("pictures to read are scaled, not cut to their ink (data.normalize)")
    elif extent < 1:
        notes.append(f"ink of pictures to read gets {extent:.0%} of the image's longer side")
    return notes


def draw_standin(drawn: Standin, raw: Path, data: Data) -> str:
    from k49.data import standin  # imports SciPy and fontTools: only where it draws

    description = descriptions.packaged("standin")
    names = standin.class_names(drawn.classes)
    if drawn.classes == len(standin.TEN):
        description = description.model_copy(update={"title": standin.TITLE_OF_TEN})
    parts = []
    for split in ("train", "test"):
        labels, chunks = standin.draw(split, drawn)
        shown = counted(chunks, f"stand-in, {split}", len(labels))
        parts.append(RawSplit(split, split, len(labels), standin.SIZE, shown, labels))
    unchanged = {"invert": False, "transpose": False, "normalize": "ink"}
    as_it_is = data.model_copy(update=unchanged)
    stored = raws.write(raw, parts[0], parts[1], names, as_it_is)
    raws.write_info(raw, dataset_info(description, stored, as_it_is))
    n = sum(part.n for part in parts)
    return f"{n:,} images drawn: a {description.title}"


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


def class_names(source: SourceFiles, own: Path) -> Classes:
    """Return the names of the classes of npz files of K49's form; none for other files.

    They are in the class map, else in the description of the same name as the files.
    """
    prefix, name = sources.class_map(source.arrays)
    if name in source.files:
        return read_class_map(source.files[name])
    description = descriptions.find(prefix, own) if prefix else None
    return description.classes if description else []


def read_class_map(file: File) -> Classes:
    """Read a file as `k49_classmap.csv`: index, code point and character of each class."""
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


def dataset_info(description: Description | None, stored: RawSummary, data: Data) -> DatasetInfo:
    """Describe a dataset, with the name that accompanies every figure on it.

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
