"""A fixed number of processes that read pictures; one that dies or takes too long is replaced.

Between them and the server go bytes and JSON: nothing that a hostile picture could make the server
run. All of them have the same bytes of one model, also if its file is replaced meanwhile.
"""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from k49.errors import K49Error
from k49.process import context

MOST_WAITING = 128  # requests that have arrived and wait for a process
SIZE = struct.Struct("!Q")  # of a message, before it
GONE = (ConnectionError, asyncio.IncompleteReadError)  # the process at the other end


@dataclass(frozen=True)
class Limits:
    workers: int  # processes that read
    seconds: float  # that a request may take to arrive, to wait, and to be read: each


class Refused(Exception):
    """A request that isn't answered: by which HTTP status, and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Readers:
    """The processes, and the requests that wait for them."""

    def __init__(self, model: Path, limits: Limits) -> None:
        self.path, self.limits = model, limits
        self.waiting = 0
        self.content: bytes | None = None  # of the model
        self.facts: dict[str, Any] = {}  # as `reading.describe`
        self._all: list[Reader] = []
        self._free: asyncio.Queue[Reader] = asyncio.Queue()

    async def begin(self) -> None:
        """Start the processes; the first reads the model for all.

        Raises:
            K49Error: the model can't be read.
        """
        first = self._reader()
        self._all.append(first)
        self.facts = await first.begin()
        self.path, self.content = Path(self.facts.pop("path")), await first.receive()
        self._all += [self._reader() for _ in range(self.limits.workers - 1)]
        for reader in self._all[1:]:
            await reader.begin()
        for reader in self._all:
            self._free.put_nowait(reader)

    def end(self) -> None:
        for reader in self._all:
            reader.end()

    async def read(self, kind: str, query: str, file: IO[bytes]) -> tuple[bytes, int]:
        """Read the body of a request when it is its turn; return as `reading.read`.

        Raises:
            Refused: as there, and 503, too many wait, it waited too long, or the process ended
                before it began; 413, it takes too long to read; 422, reading it ended the process.
        """
        reader = await self._turn()
        try:
            if not reader.process.is_alive():  # it ended while it was idle
                reader = await self._replaced(reader)
            file.seek(0)
            async with asyncio.timeout(self.limits.seconds):
                head, content = await reader.ask({"kind": kind, "query": query}, file.read())
        except TimeoutError:
            reader.end()
            raise Refused(
                413, f"takes more than {self.limits.seconds:g} seconds to read; send fewer pictures"
            ) from None
        except GONE as error:
            reader.end()
            if reader.begun:
                raise Refused(422, "reading it ended the process that read") from error
            raise Refused(503, "the process that should read it has ended") from error
        except BaseException:  # also the end of the server
            reader.end()
            raise
        finally:
            self._free.put_nowait(reader)  # the next request replaces one that has ended
        if "refused" in head:
            raise Refused(*head["refused"])
        return content, head["characters"]

    async def _turn(self) -> "Reader":
        if self.waiting >= MOST_WAITING:
            raise Refused(503, "too many requests wait")
        self.waiting += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await self._free.get()
        except TimeoutError:
            raise Refused(503, "too many requests were before it") from None
        finally:
            self.waiting -= 1

    async def _replaced(self, reader: "Reader") -> "Reader":
        reader.end()
        other = self._reader()
        try:
            await other.begin()
        except K49Error as error:
            other.end()
            raise Refused(503, str(error)) from error
        self._all[self._all.index(reader)] = other
        return other

    def _reader(self) -> "Reader":
        return Reader(self.path, self.content)


class Reader:
    """One of the processes; it ends when this one does."""

    def __init__(self, model: Path, content: bytes | None) -> None:
        self.begun = False  # to read the last request
        self._here, far_end = socket.socketpair()
        with far_end:
            self.process = context.Process(target=work, args=(far_end, model, content), daemon=True)
            self.process.start()

    async def begin(self) -> dict[str, Any]:
        """Wait until it has read the model; return the facts about the model.

        Raises:
            K49Error: the model can't be read, or the process was killed.
        """
        self._in, self._out = await asyncio.open_connection(sock=self._here)
        try:
            facts = json.loads(await self.receive())
        except GONE as error:
            raise K49Error(
                "a process of the server was killed at its start; memory may have run out"
            ) from error
        if "error" in facts:
            raise K49Error(facts["error"])
        return facts

    async def receive(self) -> bytes:
        (size,) = SIZE.unpack(await self._in.readexactly(SIZE.size))
        return await self._in.readexactly(size)

    async def ask(self, head: dict, body: bytes) -> tuple[dict, bytes]:
        """Send a request, and wait for the answer: its head and its content."""
        self.begun = False
        self._out.write(message(json.dumps(head).encode()) + message(body))
        await self.receive()
        self.begun = True
        return json.loads(await self.receive()), await self.receive()

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def message(content: bytes) -> bytes:
    """Return content with its size before it."""
    return SIZE.pack(len(content)) + content


def work(connection: socket.socket, path: Path, content: bytes | None) -> None:
    """Run one of the processes: read the model, then answer requests until the server is gone."""
    from k49.serve import reading  # which is there already: this process is forked from one

    with connection, connection.makefile("rb") as stream:

        def receive() -> bytes:
            return stream.read(*SIZE.unpack(stream.read(SIZE.size)))

        try:
            model = reading.open_model(path, content)
        except K49Error as error:
            connection.sendall(message(reading.as_json({"error": str(error)})))
            return
        connection.sendall(message(reading.as_json(reading.describe(model))))
        if content is None:
            connection.sendall(message(model.content))
        while stream.peek(1):  # nothing at its end
            head, body = json.loads(receive()), receive()
            connection.sendall(message(b""))  # begun
            try:
                answer, characters = reading.read(model, head["kind"], head["query"], body)
                head = {"characters": characters}
            except Refused as refused:
                answer, head = b"", {"refused": [refused.status, refused.detail]}
            connection.sendall(message(reading.as_json(head)) + message(answer))
