"""Recognizes a dataset by the names of its files: which of the four arrays is where."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from k49.data.descriptions import Arrays, Place
from k49.errors import K49Error

KERAS_KEYS = ("x_train", "y_train", "x_test", "y_test")  # of keras.datasets' npz files


@dataclass(frozen=True)
class Layout:
    """Names of four files, with a prefix that differs from dataset to dataset."""

    names: tuple[str, ...]  # train images and labels, test images and labels
    key: str | None = None
    prefixes: tuple[str, ...] = ()  # that are tried at an address, which lists nothing

    def arrays(self, prefix: str) -> Arrays:
        """Return where the arrays are."""
        return at(Place(file=name.format(prefix), key=self.key) for name in self.names)

    def found(self, names: set[str]) -> Iterator[Arrays]:
        """Yield the arrays of each prefix of which at least one file is there."""
        prefixes = set()
        for template in self.names:
            pattern = re.compile(re.escape(template).replace(r"\{\}", r"([\w.-]*)"))
            prefixes |= {match[1] for name in names if (match := pattern.fullmatch(name))}
        for prefix in sorted(prefixes):
            yield self.arrays(prefix)


def at(places: Iterable[Place]) -> Arrays:
    """Return arrays at four places: train images and labels, test images and labels."""
    return Arrays(**dict(zip(Arrays.model_fields, places, strict=True)))


def idx(test: str, dot: str, packed: str, prefixes: tuple[str, ...] = ()) -> Layout:
    """Return the layout of idx files as MNIST (test "t10k") and EMNIST (test "test") name them."""
    names = (
        f"{{}}{split}-{kind}{packed}"
        for split in ("train", test)
        for kind in (f"images{dot}idx3-ubyte", f"labels{dot}idx1-ubyte")
    )
    return Layout(tuple(names), prefixes=prefixes)


NPZ = Layout(
    ("{}-train-imgs.npz", "{}-train-labels.npz", "{}-test-imgs.npz", "{}-test-labels.npz"),
    key="arr_0",
    prefixes=("k49", "kmnist"),
)
LAYOUTS = (
    NPZ,
    idx("t10k", "-", ".gz", prefixes=("",)),
    idx("t10k", "-", "", prefixes=("",)),
    idx("t10k", ".", ""),
    idx("t10k", ".", ".gz"),
    idx("test", "-", ".gz"),
    idx("test", "-", ""),
)
FORMS = (
    "K49's or KMNIST's npz files (k49-train-imgs.npz, ...), idx or idx.gz files (train-images-idx3-"
    f"ubyte.gz, ...), one npz with {', '.join(KERAS_KEYS)}, or class folders of pictures and "
    "no file beside them"
)


def keras(name: str) -> Arrays:
    """Return where the arrays are in an npz of Keras' form."""
    return at(Place(file=name, key=key) for key in KERAS_KEYS)


def is_known(folder: Path) -> bool:
    """Return whether a folder holds four files of MNIST's form, packed or not."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return any(
        set(arrays.files()) <= names
        for layout in LAYOUTS
        if layout is not NPZ
        for arrays in layout.found(names)
    )


def recognize(names: Iterable[str], where: str) -> Arrays:
    """Return where the arrays are, by the names of the files.

    Args:
        names: of all files that there are.
        where: what errors call the place that has them.

    Raises:
        K49Error: they are of no known form, one is missing, or they are of several datasets.
    """
    there = set(names)
    # MNIST's files lie unpacked beside the packed ones where torchvision was
    there -= {f"{name}.gz" for name in there}
    whole, parts = list[Arrays](), list[Arrays]()
    for layout in LAYOUTS:
        for arrays in layout.found(there):
            (whole if set(arrays.files()) <= there else parts).append(arrays)
    if len(whole) > 1:
        files = " or ".join(arrays.train_images.file for arrays in whole)
        raise K49Error(
            f"{where} holds {len(whole)} datasets: {files}? Put one into a folder of its own, or "
            "name its files under arrays of a description (docs/data.md)"
        )
    if whole:
        return whole[0]
    if parts:
        nearest = min(parts, key=lambda arrays: len(set(arrays.files()) - there))
        missing = [name for name in nearest.files() if name not in there]
        raise K49Error(f"{where} lacks {', '.join(missing)}")
    raise K49Error(f"{where} holds no dataset of a known form: {FORMS}")


def class_map(arrays: Arrays) -> tuple[str, str]:
    """Return the prefix of npz of K49's form, and their class map's name; "" of other files."""
    name, ending = arrays.train_images.file, NPZ.names[0].format("")
    prefix = name.removesuffix(ending) if name.endswith(ending) else ""
    return prefix, f"{prefix}_classmap.csv" if prefix else ""


def at_address() -> Iterator[Arrays]:
    """Yield what an address may hold that doesn't say what it holds, in the order to try."""
    for layout in LAYOUTS:
        for prefix in layout.prefixes:
            yield layout.arrays(prefix)
