"""Downloads files: resumed where the server allows it, retried with back-off, verified.

An answer is read in a thread of its own, so that slow responses can be aborted.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import requests
from rich.progress import TaskID
from urllib3.exceptions import HTTPError, ReadTimeoutError

from k49.data.arrays import File
from k49.data.descriptions import MD5SUMS, Checksum, matches, read_md5sums
from k49.errors import K49Error
from k49.io import md5
from k49.progress import Bar
from k49.settings import Data
from k49.text import printable

BLOCK = 1 << 16  # bytes read at a time
SLOWEST = 1_000  # bytes a second
ANSWER = 30  # seconds, besides the time limit, in which an answer has to begin, redirects included
PAUSE = 1.0  # seconds before the second attempt
WAITING = 16  # blocks that are read ahead
AGAIN = HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS
MOST_REASON = 80  # characters of a server's own words
MOST_BYTES = 1 << 30  # a file of unknown size may not be larger: four times K49 and more
ALTERNATIVES = (
    "Two ways out: set data.source to a folder that holds these files, or to 'standin' for the "
    "stand-in, which needs no network."
)


class DownloadError(Exception):
    """One file could not be downloaded from one place; the message says why."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status  # HTTP status, where the server refused

    @property
    def final(self) -> bool:
        """Whether another attempt won't change it: 4xx answers, but for 408 and 429."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in AGAIN


class Stream:
    """The answer of a server.

    Args:
        url: http or https.
        headers: of the request.
        timeout: seconds without a byte, or at less than SLOWEST, after which it is given up.

    Raises:
        DownloadError: there is no answer.
    """

    def __init__(self, url: str, headers: dict[str, str], timeout: float) -> None:
        self.timeout = timeout
        self._queue: Queue[Any] = Queue(WAITING)
        self._over = threading.Event()
        threading.Thread(target=self._read, args=(url, headers), daemon=True).start()
        self.answer: requests.Response = self._next(timeout + ANSWER)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def blocks(self) -> Iterator[bytes]:
        """Yield the content as it comes, undecoded.

        Raises:
            DownloadError: it broke off, or comes too slowly.
        """
        since, received = time.monotonic(), 0
        while block := self._next(since + self.timeout + 1 - time.monotonic()):
            received += len(block)
            if received >= SLOWEST * self.timeout:
                since, received = time.monotonic(), 0
            yield block

    def _next(self, seconds: float) -> Any:
        try:
            item = self._queue.get(timeout=max(seconds, 0.001))
        except Empty as error:
            raise DownloadError(
                f"timed out: fewer than {SLOWEST:,} bytes a second for data.timeout seconds"
            ) from error
        if isinstance(item, Exception):
            raise DownloadError(reason(item)) from item
        return item

    def _read(self, url: str, headers: dict[str, str]) -> None:
        try:
            with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as answer:
                self._put(answer)
                while not self._over.is_set():
                    self._put(block := answer.raw.read1(BLOCK, decode_content=False))
                    if not block:
                        return
        except Exception as error:  # the other thread gets any error
            self._put(error)

    def _put(self, item: Any) -> None:
        while not self._over.is_set():
            with suppress(Full):
                self._queue.put(item, timeout=0.2)
                return


def reason(error: Exception) -> str:
    """Describe a failure in a few words: never by the error's own, which may hold a password."""
    if isinstance(error, (requests.Timeout, ReadTimeoutError)):
        return "timed out: no answer within data.timeout seconds"
    if isinstance(error, requests.TooManyRedirects):
        return "redirects without end"
    if isinstance(error, (requests.ConnectionError, HTTPError, OSError)) and not isinstance(
        error, ValueError
    ):
        return "no connection, or it broke off"
    return f"no http or https address, or it leads to none ({type(error).__name__})"


OnBytes = Callable[[int, int | None], None]  # takes bytes on disk, and bytes in all if known


def download(
    url: str,
    partial: Path,
    checksum: Checksum | None,
    data: Data,
    on_bytes: OnBytes = lambda done, total: None,
) -> None:
    """Download `url` to `partial` and verify it, without the part that is there already.

    Args:
        url: http or https.
        partial: where to write; kept when the connection breaks, so that a later call goes on.
        checksum: expected content; None takes what comes (then verify it otherwise), and starts
            anew each time: both halves might be of different files.
        data: `timeout`, seconds without a byte, or with hardly any, after which an attempt ends;
            `retries`, attempts after the first, with pauses of 1, 2, 4, ... seconds (30 at most).
        on_bytes: called with bytes on disk and bytes in all (None: not known).

    Raises:
        DownloadError: the download failed after all retries.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(data.retries + 1):
        try:
            if not (checksum and partial.exists() and matches(partial, checksum)):
                _transfer(url, partial, checksum, data.timeout, on_bytes)
            return
        except DownloadError as error:
            if attempt == data.retries or error.final:
                raise
            time.sleep(PAUSE * min(2**attempt, 30))


def _transfer(
    url: str,
    partial: Path,
    checksum: Checksum | None,
    timeout: float,
    on_bytes: OnBytes,
) -> None:
    """Attempt once to download the missing part, append it, and verify the whole."""
    have = partial.stat().st_size if checksum and partial.exists() else 0
    if checksum and checksum.size and have >= checksum.size:  # complete, and wrong
        partial.unlink()
        have = 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with Stream(url, headers, timeout) as stream:
        answer = stream.answer
        part = answer.status_code == HTTPStatus.PARTIAL_CONTENT
        part_starts = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        wrong_part = part and not part_starts
        too_far = answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        if have and (wrong_part or too_far):  # the part on disk is of no use: again, without it
            partial.unlink()
            _transfer(url, partial, checksum, timeout, on_bytes)
            return
        if not answer.ok:
            status = f"{answer.status_code} {printable(answer.reason, MOST_REASON)}"
            raise DownloadError(f"the server answered {status}", answer.status_code)
        if wrong_part:
            raise DownloadError("unexpected 206 Partial Content")
        if not part:  # no resume here: from the start
            have = 0
        left = length(answer)
        total = have + left if left is not None else checksum.size if checksum else None
        if checksum and checksum.size and total != checksum.size:
            partial.unlink(missing_ok=True)
            raise DownloadError(f"wrong length: {total} bytes offered, expected {checksum}")
        if total is not None and total > ((checksum and checksum.size) or MOST_BYTES):
            raise DownloadError(f"{total:,} bytes offered, {MOST_BYTES:,} at most")
        have = _append(stream, partial, have, total, on_bytes)
    if total is not None and have < total:
        raise DownloadError(f"cut off after {have} of {total} bytes")
    if checksum and not matches(partial, checksum):
        content = f"{have} bytes, MD5 {md5(partial)}"
        partial.unlink()
        raise DownloadError(f"wrong content: {content}, expected {checksum}")


def length(answer: requests.Response) -> int | None:
    """Return how many bytes a server says that it sends; None if it doesn't, or no number."""
    header = answer.headers.get("Content-Length", "")
    return int(header) if re.fullmatch(r"[0-9]{1,18}", header) else None


def _append(stream: Stream, partial: Path, have: int, total: int | None, on_bytes: OnBytes) -> int:
    """Write the content behind the first `have` bytes; return how many bytes there are then."""
    with partial.open("r+b" if have else "wb") as file:
        file.seek(have)
        for block in stream.blocks():
            file.write(block)
            have += len(block)
            on_bytes(have, total)
            if have > (total or MOST_BYTES):
                raise DownloadError(f"more than {total or MOST_BYTES} bytes came")
        file.flush()
        os.fsync(file.fileno())
    return have


def without_credentials(url: str) -> str:
    """Return an address as it may be printed: without user, password and what follows a `?`.

    All before the last `@` goes: a password may hold any sign.
    """
    address = re.split(r"[?#]", url, maxsplit=1)[0] if "@" not in url else url
    return re.sub(r"^(\w+://)?.*@([^?#]*).*$", r"\1\2", address, flags=re.DOTALL).rstrip("/")


def shown(base: str, name: str) -> str:
    return f"{without_credentials(base)}/{name}"


@dataclass(frozen=True)
class Downloader:
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
        raise K49Error(
            f"{name}{expected} could not be downloaded: {'; '.join(tried)}. {ALTERNATIVES}"
        )

    def md5sums(self, base: str) -> dict[str, Checksum]:
        """Return the checksums in an address's `md5sums` file; empty if it has none.

        Raises:
            K49Error: the download failed for another reason, or the file holds no sum.
        """
        file = self.optional(MD5SUMS, base, None)
        if file is None:
            return {}
        sums, start = read_md5sums(file.path)
        file.path.unlink()
        if not sums:
            raise K49Error(f"{file.shown}: no MD5 sum in it: {start}. {ALTERNATIVES}")
        return sums

    def optional(self, name: str, base: str, checksum: Checksum | None) -> File | None:
        """Get one file from an address; None if it has none of that name.

        Raises:
            K49Error: the download failed for another reason.
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
        K49Error: no user has such a home.
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
    return lambda done, total: bar.update(task, completed=done, total=total)
