"""Downloads one file: resumed where the server allows it, retried with back-off, verified."""

import os
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import requests
from urllib3.exceptions import ReadTimeoutError

from k49.data.checksums import Checksum, matches, md5
from k49.settings import Data

BLOCK = 1 << 16  # bytes read at a time
MOST_BYTES = 1 << 30  # a file without a checksum may not be larger: four times K49 and more

OnBytes = Callable[[int, int | None], None]  # takes bytes on disk, and bytes in all if known


class DownloadError(Exception):
    """One file could not be had from one place; the message says why."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status  # HTTP status, where the server refused


class FinalHTTPError(requests.HTTPError):
    """A refusal that another attempt won't change."""


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
        data: `timeout`, seconds without a byte after which an attempt ends; `retries`, attempts
            after the first, with pauses of 1, 2, 4, ... seconds (30 at most).
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
        except (requests.RequestException, DownloadError) as error:
            if attempt == data.retries or isinstance(error, FinalHTTPError):
                status = getattr(getattr(error, "response", None), "status_code", None)
                raise DownloadError(reason(error), status) from error
            time.sleep(min(2**attempt, 30))


def reason(error: Exception) -> str:
    """Describe a download's failure in a few words."""
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    silent = isinstance(error, requests.Timeout) or (
        error.args and isinstance(error.args[0], ReadTimeoutError)  # in the middle of the content
    )
    if silent:
        return "timed out: no answer within data.timeout seconds"
    if isinstance(error, requests.TooManyRedirects):
        return "redirects without end"
    if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return "no connection, or it broke off"
    return str(error)


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
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as answer:
        part = answer.status_code == HTTPStatus.PARTIAL_CONTENT
        part_starts = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        wrong_part = part and not part_starts
        too_far = answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        if have and (wrong_part or too_far):  # what is there is of no use: once more, without it
            partial.unlink()
            _transfer(url, partial, checksum, timeout, on_bytes)
            return
        if not answer.ok:
            _refuse(answer)
        if wrong_part:
            raise DownloadError("a part of the file came, and nobody asked for a part")
        if not part:  # no resume here: from the start
            have = 0
        left = answer.headers.get("Content-Length")
        total = have + int(left) if left else checksum.size if checksum else None
        if checksum and checksum.size and total != checksum.size:
            partial.unlink(missing_ok=True)
            raise DownloadError(f"wrong length: {total} bytes offered, expected {checksum}")
        have = _append(answer, partial, have, total, on_bytes)
    if total is not None and have < total:
        raise DownloadError(f"cut off after {have} of {total} bytes")
    if checksum and not matches(partial, checksum):
        found = f"{have} bytes, MD5 {md5(partial)}"
        partial.unlink()
        raise DownloadError(f"wrong content: {found}, expected {checksum}")


def _append(
    answer: requests.Response, partial: Path, have: int, total: int | None, on_bytes: OnBytes
) -> int:
    """Write the content behind the first `have` bytes; return how many bytes there are then."""
    with partial.open("r+b" if have else "wb") as file:
        file.seek(have)
        for block in answer.iter_content(BLOCK):
            file.write(block)
            have += len(block)
            on_bytes(have, total)
            if have > (total or MOST_BYTES):
                raise DownloadError(f"more than {total or MOST_BYTES} bytes came")
        file.flush()
        os.fsync(file.fileno())
    return have


def _refuse(answer: requests.Response) -> None:
    """Raise for a status that is no success; 4xx answers are final, but for 408 and 429."""
    final = 400 <= answer.status_code < 500 and answer.status_code not in (408, 429)
    raise (FinalHTTPError if final else requests.HTTPError)(response=answer)
