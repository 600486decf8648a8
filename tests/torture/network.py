"""A server that drips, lies, leads astray and hangs up: the right bytes, or one line."""

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from k49.data import raw as raws
from k49.data.fetch import fetch
from k49.errors import K49Error
from k49.io import write_yaml
from tests import forms
from tests.helpers import CHARACTERS, DATA, STANDIN
from tests.torture.tried import Tried, rng, tried

TRIES = 200
FAULTS = (None,) * 30 + (
    "drips", "silent", "shorter", "longer", "cut", "no length", "odd length", "huge length",
    "negative length", "wrong range", "no range", "file", "circle", "gzip", "chunks", "odd chunks",
    "headers", "no http", 404, 429, 500,
)  # fmt: skip
PASSWORD = "s3cret"


class Server(ThreadingHTTPServer):
    """Serves a folder, and does something wrong most of the time."""

    daemon_threads = True

    def __init__(self, folder: Path, draw: random.Random) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.draw, self.over = folder, draw, threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, *_):
        pass


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        with suppress(OSError):
            self.answer(self.server.draw.choice(FAULTS))

    def answer(self, fault):
        file = self.server.folder / self.path.rsplit("/", 1)[-1]
        status, headers, body = 200, {}, file.read_bytes() if file.is_file() else b""
        if not file.is_file():
            status = 404
        elif isinstance(fault, int):
            status = fault
        asked = self.headers.get("Range")
        if asked and status == 200 and fault != "no range":
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            status, named = 206, first + (fault == "wrong range")
            headers["Content-Range"] = f"bytes {named}-{len(body) - 1}/{len(body)}"
            body = body[first:]
        length = {
            "shorter": len(body) // 2, "longer": 2 * len(body) + 9, "odd length": "abc",
            "huge length": 10**15, "negative length": -5,
        }.get(fault, len(body))  # fmt: skip
        if fault == "no http":
            self.wfile.write(random.Random(length).randbytes(400))
            return
        if fault in ("file", "circle"):
            status = 302
            headers["Location"] = "file:///etc/passwd" if fault == "file" else self.path
        if fault == "gzip":
            headers["Content-Encoding"] = "gzip"
        if fault == "headers":
            headers |= {f"X-{i}": "x" * 600 for i in range(150)}
        if fault in ("chunks", "odd chunks"):
            headers["Transfer-Encoding"] = "chunked"
        elif fault != "no length":
            headers["Content-Length"] = length
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()
        if fault == "silent":
            self.server.over.wait(5)
        elif fault == "drips":
            for byte in body:
                if self.server.over.wait(0.05):
                    return
                self.wfile.write(bytes([byte]))
        elif fault in ("chunks", "odd chunks"):
            size = b"%x" % len(body) if fault == "chunks" else b"zz"
            self.wfile.write(size + b"\r\n" + body + b"\r\n0\r\n\r\n")
        else:
            self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)


def section(_, folder: Path) -> Iterator[Tried]:
    """Fetch a dataset with pinned sums from such servers, and an npz without any."""
    source = folder / "source"
    data = forms.made(size=(28, 28), of_class=(60, 20))
    forms.npz(source, data, names=CHARACTERS[:3])
    sums = {
        each.name: {"md5": md5(each.read_bytes()).hexdigest(), "size": each.stat().st_size}
        for each in source.iterdir()
    }
    own = folder / "own"
    pinned = {"title": "Pinned", "files": sums, "classes": CHARACTERS[:3], "image_size": [28, 28]}
    write_yaml(own / "pinned.yaml", pinned)
    forms.keras(source / "own.npz", data)
    for what in ("with MD5 sums", "without"):

        def case(row: Tried, number: int, what=what) -> None:
            server = Server(source, rng("network", what, number))
            address = f"http://me:{PASSWORD}@127.0.0.1:{server.server_port}/data"
            pinned = what == "with MD5 sums"
            changes = dict(
                source="pinned" if pinned else f"{address}/own.npz",
                mirrors=[address] if pinned else [],
                timeout=1.0,
                retries=2,
            )
            with tempfile.TemporaryDirectory(dir=folder) as place:
                raw = Path(place, "raw")
                begun = time.monotonic()
                try:
                    said = fetch(
                        DATA.model_copy(update=changes), STANDIN, raw, Path(place, "downloads"), own
                    )
                    right = all(
                        np.array_equal(raws.read(raw, split)[0], images)
                        for split, (images, _) in (("train", data.train), ("test", data.test))
                    )
                    row.check(right, f"{number}: other bytes")
                    row.outcomes.append("right")
                except K49Error as error:
                    said = str(error)
                    row.outcomes.append("refused")
                row.check(PASSWORD not in said, f"{number}: password: {said}")
                row.check(said.isprintable(), f"{number}: {said!r}")
                took = time.monotonic() - begun
                row.check(took < 60, f"{number}: {took:.0f} s")
            server.over.set()
            server.shutdown()
            server.server_close()

        cases = {str(number): partial(case, number=number) for number in range(TRIES)}
        yield tried("network", what, cases, at_once=8)
