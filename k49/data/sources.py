"""The files of a dataset: in a folder, at an address or at mirrors, recognized by their names."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.progress import DownloadColumn

from k49.data.arrays import LABEL, File, keys
from k49.data.descriptions import MD5SUMS, Arrays, Description, Place, matches, read_md5sums
from k49.data.download import Downloader, shown, without_credentials
from k49.errors import K49Error
from k49.io import md5
from k49.progress import Bar
from k49.settings import Data

KERAS_KEYS = ("x_train", "y_train", "x_test", "y_test")  # of keras.datasets' npz files
# files that systems leave in folders of pictures: Windows, macOS in archives, Synology
SYSTEMS = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}


@dataclass(frozen=True)
class Layout:
    """Names of four files, with a prefix that differs from dataset to dataset."""

    names: tuple[str, ...]  # train images and labels, test images and labels
    keys: tuple[str | None, ...] = (None,) * 4
    prefixes: tuple[str, ...] = ()  # that are tried at an address, which lists nothing

    def arrays(self, prefix: str) -> Arrays:
        pairs = zip(self.names, self.keys, strict=True)
        return Arrays.at([Place(file=name.format(prefix), key=key) for name, key in pairs])

    def matching(self, names: set[str]) -> Iterator[Arrays]:
        prefixes = set()
        for template in self.names:
            pattern = re.compile(re.escape(template).replace(r"\{\}", r"([\w.-]*)"))
            prefixes |= {match[1] for name in names if (match := pattern.fullmatch(name))}
        for prefix in sorted(prefixes):
            yield self.arrays(prefix)


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
    keys=("arr_0",) * 4,
    prefixes=("k49", "kmnist"),
)
CSV = Layout(
    ("{}train.csv", "{}train.csv", "{}test.csv", "{}test.csv"),
    keys=("pixels", LABEL, "pixels", LABEL),
)
LAYOUTS = (
    NPZ,
    CSV,
    idx("t10k", "-", ".gz", prefixes=("",)),
    idx("t10k", "-", "", prefixes=("",)),
    idx("t10k", ".", ""),
    idx("t10k", ".", ".gz"),
    idx("test", "-", ".gz"),
    idx("test", "-", ""),
)
FORMS = (
    "K49's or KMNIST's npz files (k49-train-imgs.npz, ...), idx or idx.gz files (train-images-idx3-"
    f"ubyte.gz, ...), one npz with {', '.join(KERAS_KEYS)}, train.csv and test.csv with label and "
    "pixels, or class folders of pictures and no file next to them"
)


def keras(name: str) -> Arrays:
    return Arrays.at([Place(file=name, key=key) for key in KERAS_KEYS])


def is_known(folder: Path) -> bool:
    """Return whether a folder holds four files of MNIST's form, packed or not."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return any(
        set(arrays.files()) <= names
        for layout in LAYOUTS
        if layout not in (NPZ, CSV)
        for arrays in layout.matching(names)
    )


def recognize(names: Iterable[str], where: str) -> Arrays:
    """Return where the arrays are, by the names of the files.

    Args:
        names: of all files that there are.
        where: what errors call the place that has them.
    """
    present = set(names)
    # MNIST's files lie unpacked next to the packed ones where torchvision unpacked them
    present -= {f"{name}.gz" for name in present}
    whole, parts = list[Arrays](), list[Arrays]()
    for layout in LAYOUTS:
        for arrays in layout.matching(present):
            (whole if set(arrays.files()) <= present else parts).append(arrays)
    if len(whole) > 1:
        files = " or ".join(arrays.train_images.file for arrays in whole)
        raise K49Error(
            f"{where} holds {len(whole)} datasets: {files}? Put one into a folder of its own, or "
            "name its files under arrays of a description (docs/data.md)"
        )
    if whole:
        return whole[0]
    if parts:
        nearest = min(parts, key=lambda arrays: len(set(arrays.files()) - present))
        missing = [name for name in nearest.files() if name not in present]
        raise K49Error(f"{where} lacks {', '.join(missing)}")
    raise K49Error(f"{where} holds no dataset of a known form: {FORMS}")


def class_map(arrays: Arrays) -> tuple[str, str]:
    """Return the prefix of npz of K49's form, and their class map's name; "" of other files."""
    name, ending = arrays.train_images.file, NPZ.names[0].format("")
    prefix = name.removesuffix(ending) if name.endswith(ending) else ""
    return prefix, f"{prefix}_classmap.csv" if prefix else ""


@dataclass(frozen=True)
class SourceFiles:
    """The files of a dataset, verified by their sums where there are some."""

    files: dict[str, File]
    arrays: Arrays  # where in them
    how: str  # they came, and were verified
    again: bool = False  # downloads without a sum, which are downloaded again each time


def inner(folder: Path) -> Path:
    """Return the folder in it that holds the files, where torchvision was: `MNIST/raw` or `raw`."""
    inside = visible(folder) if folder.is_dir() else []
    candidates = (folder, folder / "raw", *(path / "raw" for path in inside))
    return next((place for place in candidates if is_known(place)), folder)


def has_class_folders(folder: Path) -> bool:
    """Return whether a folder holds folders and, except for hidden files, nothing else."""
    contents = visible(folder) if folder.is_dir() else []
    return bool(contents) and all(path.is_dir() for path in contents)


def visible(folder: Path) -> list[Path]:
    paths = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in paths if path.name.lower() not in SYSTEMS)


def from_folder(folder: Path, described: Arrays | None) -> SourceFiles:
    """Return the files of a local folder, verified by its `md5sums` if it has one."""
    available = {path.name: File(path, str(path)) for path in folder.iterdir() if path.is_file()}
    arrays = described or arrays_in(available, f"data.source: {folder}")
    names = with_class_map(arrays, available)
    if missing := [name for name in names if name not in available]:
        raise K49Error(f"data.source: {folder} lacks {', '.join(missing)}")
    files = {name: available[name] for name in names}
    if MD5SUMS not in available:
        return SourceFiles(files, arrays, f"copied from {folder}, verified by")
    sums = available[MD5SUMS]
    checksums, start = read_md5sums(sums.path)
    for name, file in files.items():
        if name not in checksums:
            raise K49Error(f"{sums.shown}: no MD5 sum of {name}: {start}")
        if not matches(file.path, checksums[name]):
            expected = checksums[name].md5
            raise K49Error(f"{file.shown}: MD5 is {md5(file.path)}, {sums.shown} says {expected}")
    return SourceFiles(files, arrays, f"copied from {folder}, verified by {sums.shown} and")


def arrays_in(files: dict[str, File], where: str) -> Arrays:
    """Return where the arrays are in the files of a folder: in one npz of Keras' form, or four."""
    archives = [file for name, file in files.items() if name.lower().endswith(".npz")]
    if len(archives) == 1 and set(KERAS_KEYS) & set(keys(archives[0])):
        return keras(archives[0].path.name)
    return recognize(files, where)


def with_class_map(arrays: Arrays, names: Collection[str]) -> list[str]:
    _, name = class_map(arrays)
    return [*arrays.files(), *([name] if name in names else [])]


def from_file(path: Path, described: Arrays | None) -> SourceFiles:
    """Return an npz of Keras' form, or with keys of its own that are described."""
    if path.suffix.lower() == ".csv":
        raise K49Error(f"{path}: one table; name a folder that holds train.csv and test.csv")
    arrays = in_one_file(path.name, described, str(path))
    file = File(path, str(path))
    return SourceFiles({path.name: file}, arrays, f"copied from {path}, verified by")


def in_one_file(name: str, described: Arrays | None, where: str) -> Arrays:
    """Return where the arrays are in an npz."""
    arrays = described or keras(name)
    if (names := arrays.files()) != [name]:
        raise K49Error(f"data.source: {where} is one file, its description has {', '.join(names)}")
    return arrays


def from_mirrors(
    description: Description, mirrors: list[str], data: Data, downloads: Path
) -> SourceFiles:
    """Return files with pinned MD5 sums, each from the first mirror that has it."""
    with Bar(DownloadColumn()) as bar:
        downloader = Downloader(data, downloads, bar)
        files = {
            name: downloader.file(name, mirrors, checksum)
            for name, checksum in description.files.items()
        }
    arrays = description.arrays or arrays_in(files, description.title)
    return SourceFiles(files, arrays, "downloaded, verified by their MD5 sums and")


def from_address(
    address: str, described: Arrays | None, data: Data, downloads: Path
) -> SourceFiles:
    """Return the files of an address, verified by its `md5sums` if it has one."""
    with Bar(DownloadColumn()) as bar:
        downloader = Downloader(data, downloads, bar)
        if address.lower().endswith(".npz"):
            base, _, name = address.rpartition("/")
            arrays = in_one_file(name, described, without_credentials(address))
            files = {name: downloader.file(name, [base], None)}
            return SourceFiles(files, arrays, "downloaded, verified by", again=True)
        sums = downloader.md5sums(address)
        if described is None and sums:
            described = recognize(sums, shown(address, MD5SUMS))
        arrays, files = (described, {}) if described else first_there(address, downloader)
        for name in arrays.files():
            files[name] = files.get(name) or downloader.file(name, [address], sums.get(name))
        _, name = class_map(arrays)
        if name and (not sums or name in sums):
            file = downloader.optional(name, address, sums.get(name))
            files |= {name: file} if file else {}
    if sums:
        return SourceFiles(files, arrays, "downloaded, verified by their MD5 sums and")
    return SourceFiles(files, arrays, "downloaded, verified by", again=True)


def first_there(address: str, downloader: Downloader) -> tuple[Arrays, dict[str, File]]:
    """Return the form of dataset that an address has, and its first file, which says so."""
    candidates = [layout.arrays(prefix) for layout in LAYOUTS for prefix in layout.prefixes]
    names = [arrays.train_images.file for arrays in candidates]
    for arrays, name in zip(candidates, names, strict=True):
        if file := downloader.optional(name, address, None):
            return arrays, {name: file}
    tried = ", ".join(names)
    raise K49Error(
        f"{without_credentials(address)} holds none of {tried}; an address with files of other "
        f"names needs a list of their sums, {MD5SUMS}, or a description (docs/data.md)"
    )
