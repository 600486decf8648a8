"""A fixed number of workers, which are replaced when they die or exceed a request's time limit.

What goes between them and this process is a line of JSON, then bytes: nothing that a hostile
picture could have this process run.
"""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

from k49.errors import K49Error
from k49.process import context
from k49.serve.limits import MOST_WAITING, Limits, Refused

SIZE = struct.Struct("!Q")  # of a message, before it
GONE = (ConnectionError, asyncio.IncompleteReadError)  # the process at the other end


class Readers:
    """The processes, and the requests that wait for them."""

    def __init__(self, model: Path, limits: Limits) -> None:
        self.model, self.limits = model, limits
        self.all: list[Reader] = []
        self.free: asyncio.Queue[Reader] = asyncio.Queue()
        self.waiting = 0
        self.facts: dict[str, Any] = {}  # of the model, as `reading.described`

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the processes, and end them after the block.

        Raises:
            K49Error: the model can't be read.
        """
        self.all = [Reader(self.model) for _ in range(self.limits.workers)]
        try:
            for reader in self.all:
                self.facts = await reader.begin()
                self.free.put_nowait(reader)
            yield
        finally:
            for reader in self.all:
                reader.end()

    async def read(self, kind: str, query: str, file: IO[bytes]) -> tuple[bytes, int]:
        """Read the body of a request when it is its turn; return as `reading.read`.

        Raises:
            Refused: as there, and 503, too many wait, or it waited too long; 413, it takes too long
                to read; 422, it ended the process.
        """
        reader = await self.turn()
        try:
            file.seek(0)
            async with asyncio.timeout(self.limits.seconds):
                head, answer = await reader.ask({"kind": kind, "query": query}, file.read())
        except TimeoutError:
            await self.replace(reader)
            seconds = f"{self.limits.seconds:g} seconds"
            raise Refused(413, f"takes more than {seconds} to read; send fewer pictures") from None
        except BaseException as error:  # also the end of the server: its answer is nobody else's
            await self.replace(reader)
            if isinstance(error, GONE):
                raise Refused(422, "reading it ended the process that read") from error
            raise
        self.free.put_nowait(reader)
        if "refused" in head:
            raise Refused(*head["refused"])
        return answer, head["characters"]

    async def turn(self) -> "Reader":
        """Wait until a process is free.

        Raises:
            Refused: 503.
        """
        if self.waiting >= MOST_WAITING:
            raise Refused(503, "too many requests wait")
        self.waiting += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await self.free.get()
        except TimeoutError:
            raise Refused(503, "too many requests were before it") from None
        finally:
            self.waiting -= 1

    async def replace(self, reader: "Reader") -> None:
        """End a process, and start another; if that fails, the next request tries again."""
        reader.end()
        other = self.all[self.all.index(reader)] = Reader(self.model)
        try:
            await other.begin()
        finally:
            self.free.put_nowait(other)


class Reader:
    """One of the processes; it ends when this one does."""

    def __init__(self, model: Path) -> None:
        self.here, there = socket.socketpair()
        with there:
            self.process = context.Process(target=work, args=(there, model), daemon=True)
            self.process.start()

    async def begin(self) -> dict[str, Any]:
        """Wait until it has read the model; return what is known of that.

        Raises:
            K49Error: it can't be read.
        """
        self.reading, self.writing = await asyncio.open_connection(sock=self.here)
        head, facts = await self.answer()
        if "error" in head:
            raise K49Error(head["error"])
        return json.loads(facts)

    async def ask(self, head: dict, body: bytes) -> tuple[dict, bytes]:
        """Send a request, and wait for the answer."""
        self.writing.write(message(head, body))
        return await self.answer()

    async def answer(self) -> tuple[dict, bytes]:
        """Wait for an answer: its head and the rest."""
        (size,) = SIZE.unpack(await self.reading.readexactly(SIZE.size))
        head, _, rest = (await self.reading.readexactly(size)).partition(b"\n")
        return json.loads(head), rest

    def end(self) -> None:
        """End it, whatever it does; the connection is closed when its end is noticed."""
        self.process.kill()
        self.process.join()


def message(head: dict, body: bytes) -> bytes:
    """Return a message: its size, a line of JSON, the body."""
    line = json.dumps(head).encode() + b"\n"
    return SIZE.pack(len(line) + len(body)) + line + body


def work(there: socket.socket, model: Path) -> None:
    """Be one of the processes: read the model, then answer requests until nobody is there."""
    from k49.serve import reading  # which is there already: this process is forked from one

    with there, there.makefile("rb") as stream:
        try:
            there.sendall(message({}, reading.as_json(reading.described(model))))
        except K49Error as error:
            there.sendall(message({"error": str(error)}, b""))
            return
        while size := stream.read(SIZE.size):
            head, _, body = stream.read(*SIZE.unpack(size)).partition(b"\n")
            asked = reading.Asked(**json.loads(head), body=body)
            try:
                answer, characters = reading.read(model, asked)
                there.sendall(message({"characters": characters}, answer))
            except Refused as refused:
                there.sendall(message({"refused": [refused.status, refused.detail]}, b""))
