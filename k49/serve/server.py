"""Runs the server until Ctrl-C: then pending requests are finished."""

import asyncio
import math
import signal
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from k49.errors import K49Error
from k49.serve.app import application
from k49.serve.readers import Limits, Readers
from k49.text import printable

MOST_HEAD = 64 << 10  # bytes of a request's headers
MOST_CONNECTIONS = 512  # fewer than the 1,024 files that a process may open at first


# names of this machine; "[" is any IPv6 address, of which the middleware keeps no more
LOCAL = ("127.0.0.1", "localhost", "[")


def serve(model: Path, host: str, port: int, limits: Limits, origins: Sequence[str] = ()) -> None:
    """Answer requests until Ctrl-C or SIGTERM.

    Args:
        model: a file of ONNX, or the folder of a project's models.
        host: the address to listen at.
        port: likewise; 0 is a free one.
        limits: of the requests.
        origins: of other pages that may ask, as https://example.org; "*" for all.

    Raises:
        K49Error: nothing can listen there, or the model can't be read.
    """
    address, port = free_address(host, port)
    readers = Readers(model, limits)
    try:
        if asyncio.run(run(readers, address, port, origins)):
            raise KeyboardInterrupt
    finally:
        readers.end()


async def run(readers: Readers, address: str, port: int, origins: Sequence[str]) -> bool:
    """Answer requests until a signal comes; return whether one came.

    Where only this machine can ask, a page whose name stands for this machine's address can't.
    """
    local = ip_address(address).is_loopback
    await readers.begin()
    server = Server(
        application(readers, [address, *LOCAL] if local else ["*"], origins),
        address=address,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        backpressure=MOST_CONNECTIONS,
        http1_settings=HTTP1Settings(
            header_read_timeout=math.ceil(1000 * min(readers.limits.seconds, 60)),
            max_buffer_size=MOST_HEAD,
        ),
        log_enabled=False,
        log_level=LogLevels.critical,
    )
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        server.stop()

    loop = asyncio.get_running_loop()
    for kind in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(kind, stop)
    serving = asyncio.create_task(server.serve())
    while not (serving.done() or await answers(address, port)):
        await asyncio.sleep(0.01)
    shown = f"[{address}]" if ":" in address else address
    print(f"reads with {readers.path} at http://{shown}:{port}/", flush=True)
    if warning := readers.facts["warning"]:
        print(f"warning: {printable(warning)}", flush=True)
    await serving
    return stopped


async def answers(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True


def free_address(host: str, port: int) -> tuple[str, int]:
    """Return the address and port that a host and a port, or 0, stand for, if they are free."""
    if not host:
        raise K49Error("--host: empty; 0.0.0.0 listens to all networks, 127.0.0.1 to this machine")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as probe:
            address, port, *_ = probe.getsockname()
            return address, port
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise K49Error(f"--host {host} --port {port}: {reason}") from error
