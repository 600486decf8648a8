"""Gets the dataset's five files from wherever `data.source` says: drawn, downloaded or copied."""

import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from k49.data import IMAGE_SHAPE, classes, npz
from k49.data.download import DownloadError, OnBytes, download
from k49.data.published import CLASSMAP, K49_FILES, Checksum, check_content, matches, md5
from k49.errors import K49Error
from k49.files import atomic_write
from k49.settings import Data, Standin

MD5SUMS = "md5sums"
ALTERNATIVES = (
    "Two ways out: set data.source to a folder that holds these files, or to 'standin' for the "
    "stand-in, which needs no network."
)


def fetch(data: Data, drawn: Standin, raw: Path, downloads: Path) -> str:
    """Put the five files of the dataset into `raw`, each only once it is verified.

    Args:
        data: the source, and how to download.
        drawn: what the stand-in looks like, if it is the source.
        raw: folder to fill.
        downloads: folder that keeps downloads for the next call, whole ones and unfinished ones.

    Returns:
        In a few words, what came from where and how it was verified.

    Raises:
        K49Error: a file can't be had, or is not what it should be. Says every place tried and why.
    """
    if data.source == "standin":
        return draw_standin(drawn, raw)
    if data.source == "k49":
        return fetch_pinned(data, raw, downloads)
    if data.source.startswith(("http://", "https://")):
        return fetch_address(data, raw, downloads)
    if "://" in data.source:
        raise K49Error(
            f"data.source: {without_credentials(data.source)}: only http and https addresses"
        )
    return copy_folder(Path(data.source).expanduser(), raw)


def draw_standin(drawn: Standin, raw: Path) -> str:
    """Draw the stand-in's four arrays and write them with the class map."""
    from k49.data import standin  # imports SciPy and fontTools: only where it draws

    n = sum(standin.counts(split, drawn.scale).sum() for split in ("train", "test"))
    with progress(TextColumn("{task.completed:,} of {task.total:,}")) as bar:
        task = bar.add_task("stand-in", total=n)
        for split in ("train", "test"):
            labels, chunks = standin.draw(split, drawn)
            images_file, labels_file = (raw / name for name in npz.names(split))
            npz.write(labels_file, labels.shape, [labels])
            npz.write(
                images_file, (len(labels), *IMAGE_SHAPE[:2]), count_progress(chunks, bar, task)
            )
    with atomic_write(raw / CLASSMAP) as tmp:
        tmp.write_bytes(classes.classmap_csv().encode())
    return f"{n:,} images drawn: a stand-in for Kuzushiji-49, not the dataset itself"


def count_progress(
    chunks: Iterable[np.ndarray], bar: Progress, task: TaskID
) -> Iterator[np.ndarray]:
    """Yield the chunks, and move the progress bar on by each."""
    for chunk in chunks:
        bar.advance(task, len(chunk))
        yield chunk


def copy_folder(folder: Path, raw: Path) -> str:
    """Copy the files of a local folder, verified."""
    if not folder.is_dir():
        raise K49Error(
            f"data.source: no folder {folder} (from {Path.cwd()}); expected 'standin', 'k49', a "
            "folder or an http(s) address"
        )
    if missing := [name for name in K49_FILES if not (folder / name).is_file()]:
        raise K49Error(f"data.source: {folder} lacks {', '.join(missing)}")
    sums = folder / MD5SUMS
    checksums = None
    if sums.is_file():
        checksums = read_md5sums(sums.read_text("utf-8", errors="replace"), str(sums))
    for name in K49_FILES:
        if checksums and not matches(folder / name, checksums[name]):
            raise K49Error(
                f"{folder / name}: MD5 is {md5(folder / name)}, {sums} says {checksums[name].md5}"
            )
    paths = {name: folder / name for name in K49_FILES}
    note = check_content(paths)
    copy_to(raw, paths)
    how = f"{sums} and their contents" if checksums else "their contents"
    return f"5 files copied from {folder}, verified by {how}{note and f'; {note}'}"


def copy_to(raw: Path, paths: dict[str, Path]) -> None:
    """Copy verified files into `raw`, each under its published name."""
    for name, path in paths.items():
        with atomic_write(raw / name) as tmp:
            shutil.copyfile(path, tmp)


def fetch_pinned(data: Data, raw: Path, downloads: Path) -> str:
    """Download K49 itself: each file from the first mirror that has it, verified by its MD5."""
    if not data.mirrors:
        raise K49Error("data.mirrors: empty, name at least one address to download from")
    with progress(DownloadColumn()) as bar:
        downloader = Downloader(data, downloads, bar)
        got = {name: downloader.file(name, data.mirrors, K49_FILES[name]) for name in K49_FILES}
    copy_to(raw, got)
    return "5 files downloaded, verified by their MD5 sums"


def fetch_address(data: Data, raw: Path, downloads: Path) -> str:
    """Download from the address `data.source`, verified by its `md5sums` if it has one.

    What is in the files is checked either way.
    """
    with progress(DownloadColumn()) as bar:
        downloader = Downloader(data, downloads, bar)
        checksums = downloader.md5sums(data.source)
        got = {
            name: downloader.file(name, [data.source], checksums.get(name)) for name in K49_FILES
        }
    try:
        note = check_content(got)
    except K49Error as error:
        text = str(error)
        for name, path in got.items():
            text = text.replace(str(path), f"{without_credentials(data.source)}/{name}")
        raise K49Error(text) from error
    copy_to(raw, got)
    if not checksums:  # without a hash nobody could tell later whether they are still the same
        for path in got.values():
            path.unlink()
    how = "their MD5 sums and their contents" if checksums else "their contents"
    return f"5 files downloaded, verified by {how}{note and f'; {note}'}"


def without_credentials(url: str) -> str:
    """Return an address without user and password, as it may be printed."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


@dataclass(frozen=True)
class Downloader:
    """Downloads into a folder that outlives a run, and shows how far it is."""

    data: Data
    folder: Path
    bar: Progress

    def file(self, name: str, bases: list[str], checksum: Checksum | None) -> Path:
        """Download one file from the first address that has it; returns where it lies.

        Raises:
            K49Error: none has it. Says every address tried and why it failed.
        """
        task = self.bar.add_task(name, total=None)
        tried = []
        for base in bases:
            url = f"{base.rstrip('/')}/{name}"
            # a file with a checksum may be resumed from another mirror, others never
            key = checksum.md5 if checksum else sha256(url.encode()).hexdigest()[:32]
            path = self.folder / f"{key}-{name}"
            try:
                download(url, path, checksum, self.data, progress_callback(self.bar, task))
                return path
            except DownloadError as error:
                tried.append(f"{without_credentials(base)}/{name}: {error}")
        expected = f" (expected: {checksum})" if checksum else ""
        raise K49Error(f"{name}{expected} is not to be had: {'; '.join(tried)}. {ALTERNATIVES}")

    def md5sums(self, base: str) -> dict[str, Checksum]:
        """Return the checksums in an address's `md5sums` file; empty if it has none."""
        path = self.folder / MD5SUMS
        path.unlink(missing_ok=True)
        url = f"{base.rstrip('/')}/{MD5SUMS}"
        try:
            download(
                url, path, None, self.data, progress_callback(self.bar, self.bar.add_task(MD5SUMS))
            )
        except DownloadError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return {}
            raise K49Error(
                f"{without_credentials(base)}/{MD5SUMS}: {error}. {ALTERNATIVES}"
            ) from error
        where = f"{without_credentials(base)}/{MD5SUMS}"
        return read_md5sums(path.read_text("utf-8", errors="replace"), where)


def read_md5sums(text: str, where: str) -> dict[str, Checksum]:
    """Parse a file as `md5sum` writes it, lines of `<32 digits>  <name>`; return its checksums.

    Raises:
        K49Error: it names none of the dataset's files, or not all of them.
    """
    lines = re.findall(r"^([0-9a-f]{32}) [ *](.+?)\s*$", text, re.MULTILINE | re.IGNORECASE)
    checksums = {name: Checksum(digits.lower()) for digits, name in lines}
    if missing := [name for name in K49_FILES if name not in checksums]:
        start = f"starts with {text[:40]!r}" if text.strip() else "is empty"
        raise K49Error(f"{where}: no MD5 sum of {', '.join(missing)}: it {start}. {ALTERNATIVES}")
    return checksums


@contextmanager
def progress(amount: ProgressColumn) -> Iterator[Progress]:
    """Show a progress bar in a terminal, and nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        yield bar


def progress_callback(bar: Progress, task: TaskID) -> OnBytes:
    """Return a function for `download` that moves `task` on."""
    return lambda done, total: bar.update(task, completed=done, total=total)
