"""Downloads a dataset's files into a folder that outlives a run, and shows how far it is."""

import re
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

from rich.progress import TaskID

from k49.data.arrays import File
from k49.data.checksums import MD5SUMS, Checksum, matches, md5, read_md5sums
from k49.data.download import OnBytes, download
from k49.data.stream import DownloadError
from k49.errors import K49Error
from k49.progress import Bar
from k49.settings import Data

ALTERNATIVES = (
    "Two ways out: set data.source to a folder that holds these files, or to 'standin' for the "
    "stand-in, which needs no network."
)


def without_credentials(url: str) -> str:
    """Return an address as it may be printed: without user, password and what follows a `?`.

    All before the last `@` goes: a password may hold any sign.
    """
    address = re.split(r"[?#]", url, maxsplit=1)[0] if "@" not in url else url
    return re.sub(r"^(\w+://)?.*@([^?#]*).*$", r"\1\2", address, flags=re.DOTALL).rstrip("/")


def shown(base: str, name: str) -> str:
    """Return what errors call a file of an address or folder."""
    return f"{without_credentials(base)}/{name}"


@dataclass(frozen=True)
class Downloader:
    """Downloads into a folder."""

    data: Data
    folder: Path
    bar: Bar

    def file(self, name: str, bases: list[str], checksum: Checksum | None) -> File:
        """Get one file from the first address or folder that has it.

        Raises:
            K49Error: none has it. Says every place tried and why it failed.
        """
        tried = []
        for base in bases:
            try:
                if (folder := local_path(base)).is_dir():
                    return local(folder / name, checksum)
                return self._download(name, base, checksum)
            except DownloadError as error:
                tried.append(f"{shown(base, name)}: {error}")
        expected = f" (expected: {checksum})" if checksum else ""
        raise K49Error(f"{name}{expected} is not to be had: {'; '.join(tried)}. {ALTERNATIVES}")

    def md5sums(self, base: str) -> dict[str, Checksum]:
        """Return the checksums in an address's `md5sums` file; empty if it has none.

        Raises:
            K49Error: it can't be had for another reason, or holds no sum.
        """
        found = self.optional(MD5SUMS, base, None)
        if found is None:
            return {}
        sums, start = read_md5sums(found.path)
        found.path.unlink()
        if not sums:
            raise K49Error(f"{found.shown}: no MD5 sum in it: {start}. {ALTERNATIVES}")
        return sums

    def optional(self, name: str, base: str, checksum: Checksum | None) -> File | None:
        """Get one file from an address; None if it has none of that name.

        Raises:
            K49Error: it can't be had for another reason.
        """
        try:
            return self._download(name, base, checksum)
        except DownloadError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise K49Error(f"{shown(base, name)}: {error}. {ALTERNATIVES}") from error

    def _download(self, name: str, base: str, checksum: Checksum | None) -> File:
        url = f"{base.rstrip('/')}/{name}"
        # a file with a checksum may be resumed from another mirror, others never
        key = checksum.md5 if checksum else sha256(url.encode()).hexdigest()[:32]
        path = self.folder / f"{key}-{name}"
        callback = progress_callback(self.bar, self.bar.add_task(name, total=None))
        download(url, path, checksum, self.data, callback)
        return File(path, shown(base, name))


def local_path(place: str) -> Path:
    """Return a path, `~` as the home it stands for.

    Raises:
        K49Error: nobody has such a home.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise K49Error(f"{place}: {error}; write the folder out") from error


def local(path: Path, checksum: Checksum | None) -> File:
    """Return a file of a mirror that is a folder.

    Raises:
        DownloadError: it isn't there, or another.
    """
    if not path.is_file():
        raise DownloadError("no such file")
    if checksum and not matches(path, checksum):
        raise DownloadError(f"wrong content: MD5 {md5(path)}, expected {checksum}")
    return File(path, str(path))


def progress_callback(bar: Bar, task: TaskID) -> OnBytes:
    """Return a function for `download` that moves `task` on."""
    return lambda done, total: bar.update(task, completed=done, total=total)
