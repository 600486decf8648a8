"""A server for tests, in a process of its own."""

import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests
from PIL import Image

from tests.helpers import encoded, environment, ink

REAL = Path(sys.executable).with_name("k49")  # and not the one of tests/warm


PICTURE = encoded(Image.fromarray(255 - ink(100, 100)))


class Served:
    """A server in a process of its own, and its address."""

    def __init__(self, folder: Path, *options: object, command: Sequence = (REAL, "serve")) -> None:
        self.process = subprocess.Popen(
            [*map(str, command), "--port", "0", *map(str, options)],
            cwd=folder,
            env=environment(folder, warm=False),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self.process.stdout.readline().split(" at ")[-1].strip().rstrip("/")

    def post(self, body, kind="image/png", query="", **options) -> requests.Response:
        """POST to /v1/predict."""
        headers = {"content-type": kind} if kind else {}
        address = f"{self.address}/v1/predict{query}"
        return requests.post(address, data=body, headers=headers, timeout=60, **options)

    def connect(self) -> socket.socket:
        """A connection to it."""
        parts = urlsplit(self.address)
        return socket.create_connection((parts.hostname, parts.port), timeout=60)

    def processes(self) -> list[psutil.Process]:
        """It and those that it has started."""
        return [found := psutil.Process(self.process.pid), *found.children(recursive=True)]

    def readers(self) -> list[psutil.Process]:
        """The processes that read: forks of a fork server."""
        return [each for each in self.processes()[1:] if each.ppid() != self.process.pid]

    def end(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)
