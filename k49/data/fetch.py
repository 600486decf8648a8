"""Gets the dataset's five files from wherever `data.source` says: drawn, downloaded or copied."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

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

from k49.data import classes, npz
from k49.data.download import Checksum, DownloadError, OnBytes, download, matches, md5
from k49.errors import K49Error
from k49.files import atomic_write
from k49.settings import Data, Standin

CLASSMAP = "k49_classmap.csv"
MD5SUMS = "md5sums"

# As published after 5 February 2019; older copies have faulty images.
K49_FILES = {
    "k49-train-imgs.npz": Checksum("7ac088b20481cf51dcd01ceaab89d821", 66117696),
    "k49-train-labels.npz": Checksum("44a8e1b893f81e63ff38d73cad420f7a", 164485),
    "k49-test-imgs.npz": Checksum("d352e201d846ce6b94f42c990966f374", 10971201),
    "k49-test-labels.npz": Checksum("4da6f7a62e67a832d5eb1bd85c5ee448", 27450),
    CLASSMAP: Checksum("f7d0d0391f68bdf0fe4cf160ceb85753", 697),
}
WAYS_OUT = (
    "Two ways out: set data.source to a folder that holds these files, or to 'standin' for the "
    "stand-in, which needs no network."
)


def fetch(data: Data, drawn: Standin, seed: int, raw: Path, downloads: Path) -> str:
    """Put the five files of the dataset into `raw`, each only once it is verified.

    Args:
        data: the source, and how to download.
        drawn: what the stand-in looks like, if it is the source.
        seed: of the stand-in.
        raw: folder to fill.
        downloads: folder that keeps downloads for the next call, whole ones and unfinished ones.

    Returns:
        In a few words, what came from where and how it was verified.

    Raises:
        K49Error: a file can't be had, or is not what it should be. Says every place tried and why.
    """
    if data.source == "standin":
        return draw_standin(drawn, seed, raw)
    if data.source == "k49":
        return fetch_urls(data.mirrors, dict(K49_FILES), data, raw, downloads)
    if data.source.startswith(("http://", "https://")):
        return fetch_urls([data.source], None, data, raw, downloads)
    return copy_folder(Path(data.source).expanduser(), raw)


def draw_standin(drawn: Standin, seed: int, raw: Path) -> str:
    """Draw the stand-in's four arrays and write them with the class map."""
    from k49.data import standin  # imports SciPy and a font: only where it draws

    n = sum(
        standin.counts(full, drawn.scale).sum()
        for full in (classes.TRAIN_COUNTS, classes.TEST_COUNTS)
    )
    with progress(TextColumn("{task.completed:,} of {task.total:,}")) as bar:
        task = bar.add_task("stand-in", total=n)
        for split in ("train", "test"):
            images, labels = standin.draw(split, drawn, seed, partial(bar.advance, task))
            npz.write(raw / f"k49-{split}-imgs.npz", images)
            npz.write(raw / f"k49-{split}-labels.npz", labels)
    with atomic_write(raw / CLASSMAP) as tmp:
        tmp.write_bytes(classes.classmap_csv().encode())
    return f"{n:,} images drawn: a stand-in for Kuzushiji-49, not the dataset itself"


def copy_folder(folder: Path, raw: Path) -> str:
    """Copy the files of a local mirror, verified."""
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
    if checksums is None:
        check_content({name: folder / name for name in K49_FILES})
    for name in K49_FILES:
        with atomic_write(raw / name) as tmp:
            shutil.copyfile(folder / name, tmp)
    return f"5 files copied from {folder}, verified by {sums if checksums else 'their shapes'}"


def fetch_urls(
    bases: list[str], checksums: dict[str, Checksum] | None, data: Data, raw: Path, downloads: Path
) -> str:
    """Download the five files from the first base address that has them, verify, then move.

    Without `checksums` the address's own `md5sums` is asked for; if it has none, the files' shapes
    are checked.
    """
    if not bases:
        raise K49Error("data.mirrors: empty, name at least one address to download from")
    downloads.mkdir(parents=True, exist_ok=True)
    with progress(DownloadColumn()) as bar:
        downloader = Downloader(data, downloads, bar)
        if checksums is None:
            checksums = downloader.md5sums(bases[0])
        got = {name: downloader.file(name, bases, checksums.get(name)) for name in K49_FILES}
    if not checksums:
        check_content(got)
    for name, path in got.items():
        with atomic_write(raw / name) as tmp:
            shutil.copyfile(path, tmp)
        if not checksums:  # without a hash nobody could tell later whether it is still the same
            path.unlink()
    return f"5 files downloaded, verified by {'their MD5 sums' if checksums else 'their shapes'}"


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
            # a file with a checksum may be resumed from another mirror, others only from the same
            key = checksum.md5 if checksum else sha256(url.encode()).hexdigest()[:32]
            path = self.folder / f"{key}-{name}"
            try:
                download(url, path, checksum, self.data, follow(self.bar, task))
                return path
            except DownloadError as error:
                tried.append(f"{url}: {error}")
        expected = f" (expected: {checksum})" if checksum else ""
        raise K49Error("\n  ".join([f"{name}{expected} is not to be had:", *tried, WAYS_OUT]))

    def md5sums(self, base: str) -> dict[str, Checksum]:
        """The checksums in an address's `md5sums` file; empty if it has none."""
        path = self.folder / MD5SUMS
        path.unlink(missing_ok=True)
        url = f"{base.rstrip('/')}/{MD5SUMS}"
        try:
            download(url, path, None, self.data, follow(self.bar, self.bar.add_task(MD5SUMS)))
        except DownloadError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return {}
            raise K49Error(f"{url}: {error}\n  {WAYS_OUT}") from error
        return read_md5sums(path.read_text("utf-8", errors="replace"), url)


def read_md5sums(text: str, where: str) -> dict[str, Checksum]:
    """The checksums in a file as `md5sum` writes it, lines of `<32 digits>  <name>`.

    Raises:
        K49Error: it names none of the dataset's files, or not all of them.
    """
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    checksums = {
        words[1].lstrip("*"): Checksum(words[0].lower()) for words in lines if len(words) == 2
    }
    if missing := [name for name in K49_FILES if name not in checksums]:
        raise K49Error(f"{where}: no MD5 sum of {', '.join(missing)}")
    return checksums


def check_content(paths: dict[str, Path]) -> None:
    """Check files without a checksum: shapes, dtypes, label range, equal lengths, the class map."""
    for split in ("train", "test"):
        npz.read_pair(paths[f"k49-{split}-imgs.npz"], paths[f"k49-{split}-labels.npz"])
    if paths[CLASSMAP].read_bytes() != classes.classmap_csv().encode():
        raise K49Error(f"{paths[CLASSMAP]}: not K49's class map (expected: {K49_FILES[CLASSMAP]})")


@contextmanager
def progress(amount: ProgressColumn) -> Iterator[Progress]:
    """A progress bar in a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        yield bar


def follow(bar: Progress, task: TaskID) -> OnBytes:
    """A function that moves `task` on, for `download`."""
    return lambda done, total: bar.update(task, completed=done, total=total)
