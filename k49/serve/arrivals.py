"""Bodies of requests, on their way in: bounded in size, in time and in number."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile

from starlette.requests import Request

from k49.serve.limits import IN_MEMORY, MOST_ARRIVING, MOST_BODY, Limits, Refused

MOST_DIGITS = 10  # of a length
GRACE = 0.2  # seconds; an arrival that takes longer gives its place to a new one, if there is none


class Arrivals:
    """The bodies that are on their way."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.clocks: dict[asyncio.Timeout, float] = {}  # a body's, and its start; oldest first

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[SpooledTemporaryFile]:
        """Take in a request's body; while the block runs, it lies in a file, in memory if small.

        Raises:
            Refused: 413, too large; 408, too slow; 503, too many are on their way.
        """
        said = request.headers.get("content-length", "0")
        if len(said) > MOST_DIGITS or not said.isdecimal() or int(said) > MOST_BODY:
            raise too_large()
        self.make_room()
        clock = asyncio.timeout(self.limits.seconds)
        with SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            self.clocks[clock] = time.monotonic()
            try:
                async with clock:
                    await take_in(request, file)
            except TimeoutError:
                raise Refused(408, "the body took too long to arrive") from None
            finally:
                self.clocks.pop(clock, None)
            yield file

    def make_room(self) -> None:
        """End the oldest arrival if there are too many.

        Raises:
            Refused: 503, that one isn't old itself.
        """
        if len(self.clocks) < MOST_ARRIVING:
            return
        oldest, begun = next(iter(self.clocks.items()))
        if time.monotonic() - begun < GRACE:
            raise Refused(503, "too many requests arrive at once")
        del self.clocks[oldest]
        oldest.reschedule(asyncio.get_running_loop().time())


async def take_in(request: Request, file: SpooledTemporaryFile) -> None:
    """Write a body into a file; raises Refused if it is too large."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_BODY:
            raise too_large()
        file.write(chunk)


def too_large() -> Refused:
    """Return the refusal of a body."""
    return Refused(413, f"the body has more than {MOST_BODY:,} bytes; send fewer pictures at once")
