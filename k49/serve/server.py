"""Runs the server, until Ctrl-C: then what has been asked is answered still."""

import asyncio
import math
import socket
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from k49.errors import K49Error
from k49.serve.app import Service, application
from k49.serve.limits import MOST_BODY, MOST_HEAD, MOST_IDLE, Limits
from k49.serve.readers import Readers
from k49.shown import printable


def serve(model: Path, host: str, port: int, limits: Limits) -> None:
    """Answer requests until Ctrl-C or SIGTERM.

    Args:
        model: a file of ONNX, or the folder of a project's models.
        host: the address to listen at.
        port: likewise; 0 is a free one.
        limits: what is taken on.

    Raises:
        K49Error: nothing can listen there, or the model can't be read.
    """
    with listen(host, port) as listening:
        asyncio.run(run(Readers(model, limits), listening))


async def run(readers: Readers, listening: socket.socket) -> None:
    """Answer requests until a signal comes, which is raised again at the end."""
    async with readers.running():
        host, port, *_ = listening.getsockname()
        shown = f"[{host}]" if ":" in host else host
        print(f"reads with {readers.facts['file']} at http://{shown}:{port}/", flush=True)
        if warning := readers.facts["warning"]:
            print(f"warning: {printable(warning)}", flush=True)
        await uvicorn.Server(configuration(readers)).serve([listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        K49Error: the address isn't this machine's, or taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise K49Error(f"--host {host} --port {port}: {reason}") from error
    # which asyncio does for its own sockets: else an answer's second packet waits for 40 ms
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def configuration(readers: Readers) -> uvicorn.Config:
    """Tell Uvicorn what it needs to know."""
    seconds = readers.limits.seconds

    class Protocol(Impatient):
        patience, idle = seconds, {}

    return uvicorn.Config(
        application(Service(readers)),
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(3 * seconds),  # to arrive, to wait and to be read
    )


class Impatient(HttpToolsProtocol):
    """HTTP of a client whose headers come soon and are not large, or the connection is closed.

    Where too many connections are without, so is the one that has been for longest. (Uvicorn 0.54
    waits for a first request's headers as long as it takes, and takes them all.)
    """

    patience: float  # seconds
    idle: dict["Impatient", None]  # connections without a request, the oldest first

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.awaited: asyncio.TimerHandle | None = None  # while headers are
        self.came = 0  # bytes meanwhile

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self.wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Count what comes while headers are awaited."""
        super().data_received(data)
        if self.awaited:
            self.came += len(data)
            # of a request that is refused already, the rest: who sends it hears why only then
            rest = self.cycle is not None and self.cycle.more_body
            if self.came > (2 * MOST_BODY if rest else MOST_HEAD):
                self.transport.close()

    def on_headers_complete(self) -> None:
        """Wait no more: bodies have their own time, at `Arrivals`."""
        self.wait_no_more()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request's."""
        super().on_response_complete()
        self.wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self.wait_no_more()
        super().connection_lost(exc)

    def wait_for_headers(self) -> None:
        """Close the connection if none are complete in time."""
        self.wait_no_more()
        self.came = 0
        self.awaited = self.loop.call_later(self.patience, self.transport.close)
        self.idle[self] = None
        if len(self.idle) > MOST_IDLE:
            oldest = next(iter(self.idle))
            oldest.wait_no_more()
            oldest.transport.close()

    def wait_no_more(self) -> None:
        """Forget the time."""
        self.idle.pop(self, None)
        if self.awaited:
            self.awaited.cancel()
        self.awaited = None
