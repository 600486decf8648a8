"""A server's answer, read in a thread of its own: one that drips can be given up at any byte."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from queue import Empty, Full, Queue
from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

BLOCK = 1 << 16  # bytes read at a time
SLOWEST = 1_000  # bytes a second
ANSWER = 30  # seconds beside the time limit in which an answer has to begin, redirects included
WAITING = 16  # blocks that are read ahead
AGAIN = HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS


class DownloadError(Exception):
    """One file could not be had from one place; the message says why."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status  # HTTP status, where the server refused

    @property
    def final(self) -> bool:
        """Whether another attempt won't change it: 4xx answers, but for 408 and 429."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in AGAIN


class Stream:
    """What a server answers.

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
        since, came = time.monotonic(), 0
        while block := self._next(since + self.timeout + 1 - time.monotonic()):
            came += len(block)
            if came >= SLOWEST * self.timeout:
                since, came = time.monotonic(), 0
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
        except Exception as error:  # whatever it is, the other thread gets to see it
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
