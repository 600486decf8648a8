"""Downloads one file: resumed where the server allows it, retried with back-off, verified."""

import os
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import requests

from k49.data.checksums import Checksum, matches, md5
from k49.data.stream import DownloadError, Stream
from k49.settings import Data
from k49.shown import printable

MOST_REASON = 80  # characters of a server's own words
MOST_BYTES = 1 << 30  # a file of unknown size may not be larger: four times K49 and more

OnBytes = Callable[[int, int | None], None]  # takes bytes on disk, and bytes in all if known


def download(
    url: str,
    partial: Path,
    checksum: Checksum | None,
    data: Data,
    on_bytes: OnBytes = lambda done, total: None,
) -> None:
    """Download `url` to `partial` and verify it; what is there already is not fetched again.

    Args:
        url: http or https.
        partial: where to write; kept when the connection breaks, so that a later call goes on.
        checksum: expected content; None takes what comes (then verify it otherwise), and starts
            anew each time: nobody could tell whether both halves are of the same file.
        data: `timeout`, seconds without a byte, or with hardly any, after which an attempt ends;
            `retries`, attempts after the first, with pauses of 1, 2, 4, ... seconds (30 at most).
        on_bytes: called with bytes on disk and bytes in all (None: not known).

    Raises:
        DownloadError: not to be had here, after all retries.
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
            time.sleep(min(2**attempt, 30))


def _transfer(
    url: str,
    partial: Path,
    checksum: Checksum | None,
    timeout: float,
    on_bytes: OnBytes,
) -> None:
    """Attempt once to get what is missing, append it, and verify the whole."""
    have = partial.stat().st_size if checksum and partial.exists() else 0
    if checksum and checksum.size and have >= checksum.size:  # complete, and not what it should be
        partial.unlink()
        have = 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with Stream(url, headers, timeout) as stream:
        answer = stream.answer
        part = answer.status_code == HTTPStatus.PARTIAL_CONTENT
        part_starts = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        wrong_part = part and not part_starts
        too_far = answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        if have and (wrong_part or too_far):  # what is there is of no use: once more, without it
            partial.unlink()
            _transfer(url, partial, checksum, timeout, on_bytes)
            return
        if not answer.ok:
            said = f"{answer.status_code} {printable(answer.reason, MOST_REASON)}"
            raise DownloadError(f"the server answered {said}", answer.status_code)
        if wrong_part:
            raise DownloadError("a part of the file came, and nobody asked for a part")
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
        found = f"{have} bytes, MD5 {md5(partial)}"
        partial.unlink()
        raise DownloadError(f"wrong content: {found}, expected {checksum}")


def length(answer: requests.Response) -> int | None:
    """Return how many bytes a server says that it sends; None if it doesn't, or no number."""
    said = answer.headers.get("Content-Length", "")
    return int(said) if re.fullmatch(r"[0-9]{1,18}", said) else None


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
