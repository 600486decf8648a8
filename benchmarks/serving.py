"""How many requests a second `k49 serve` answers, beside the ways of others, and how soon.

    .venv-bench/bin/python -m benchmarks.serving [FOLDER ...]

Each FOLDER is a project in which `dvc repro` has run, by default this one; its network an mlp. One
client, this program, on the same processors, posts images of test in forms, as PNG, or as the peer
takes them. At first as many connections as CONNECTIONS says, each with its next request as soon as
it has an answer; then half of the most that a server answered so, evenly spread. Rounds are
interleaved; medians. Writes benchmarks/serving.json and .md.
"""

import asyncio
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.epoch import environment, machine, publish_of_folders
from k49.files import read_npy
from k49.outside import read_json

FIGURES = ("start_s", "a_second", "p50_ms", "p99_ms", "memory_mib")
ROUNDS, SECONDS, CONNECTIONS = 3, 4.0, 8
IMAGES = 200
PORT = 8149
BOUNDARY = "a-boundary"
UVICORN = [sys.executable, "-m", "uvicorn", "--no-access-log", "benchmarks.rival_server:app"]
SERVE = [sys.executable, "-c", "from k49.cli import main; main()", "serve"]
OURS, PEER = "k49 serve", "kuzushiji-49-inference-server's way"
WAYS = {
    OURS: (SERVE, {}),
    "FastAPI, model.predict of Keras": (UVICORN, {"WAY": "keras"}),
    "FastAPI, PyTorch": (UVICORN, {"WAY": "torch"}),
    PEER: (UVICORN, {"WAY": "peer"}),
}


def main() -> None:
    """Every server of every folder's model."""
    publish_of_folders("serving", __doc__, of_model, table)


def of_model(folder: Path) -> Iterator[dict]:
    """A row for each way to serve a model."""
    arrays = read_npy(folder / "data/split/test_images.npy")[:IMAGES, ..., 0]
    found: dict[str, list[dict]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, (command, known) in WAYS.items():
            asked = [request(image, "npz" if way == PEER else "png") for image in arrays]
            found[way].append(asyncio.run(measured(folder, command, known, asked)))
            print(f"{folder} {way}: {found[way][-1]['a_second']:.0f}", flush=True)
    for way, rounds in found.items():
        medians = {key: float(np.median([each[key] for each in rounds])) for key in FIGURES}
        alike = np.array(rounds[0]["read"]) == np.array(found[OURS][0]["read"])
        yield {
            "data": read_json(folder / "metrics/data.json")["dataset"],
            "way": way,
            **medians,
            "as_ours": float(alike.mean()),
        }


async def measured(folder: Path, command: list[str], known: dict, pictures: list[bytes]) -> dict:
    """Start a server; what one client sees of it."""
    options = ["--port", str(PORT)]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, *options],
        cwd=folder,
        env={**environment(), **known},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not await answers(pictures[0]):
            await asyncio.sleep(0.01)
        found = {"start_s": time.perf_counter() - start}
        found["read"] = [await likeliest(picture) for picture in pictures]
        await closed_loop(pictures, 1.0)  # warm
        found["a_second"] = await closed_loop(pictures, SECONDS)
        late = await open_loop(pictures, found["a_second"] / 2)
        found["p50_ms"], found["p99_ms"] = (1e3 * np.percentile(late, [50, 99])).tolist()
        family = [parent := psutil.Process(process.pid), *parent.children(recursive=True)]
        found["memory_mib"] = sum(each.memory_full_info().pss for each in family) / 2**20
        return found
    finally:
        process.terminate()
        process.wait()


def request(image: np.ndarray, form: str) -> bytes:
    """A whole request over HTTP with an image (H, W) uint8, as "png" or "npz"."""
    file = io.BytesIO()
    if form == "png":
        Image.fromarray(image).save(file, "PNG")
    else:
        np.savez_compressed(file, arr_0=image)
    head = f'Content-Disposition: form-data; name="file"; filename="a.{form}"'
    body = f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + file.getvalue()
    body += f"\r\n--{BOUNDARY}--\r\n".encode()
    lines = [
        "POST /v1/predict HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection:
    """One that is kept open."""

    async def open(self) -> "Connection":
        """Open it."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", PORT)
        return self

    async def ask(self, asked: bytes) -> bytes:
        """Send a request; return the answer's body."""
        self.writer.write(asked)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise ConnectionError(head.decode())
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        return await self.reader.readexactly(length)

    async def close(self) -> None:
        """Close it."""
        self.writer.close()
        await self.writer.wait_closed()


async def answers(asked: bytes) -> bool:
    """Whether the server answers yet."""
    try:
        await likeliest(asked)
    except OSError:
        return False
    return True


async def likeliest(asked: bytes) -> str:
    """What is read."""
    connection = await Connection().open()
    answer = json.loads(await connection.ask(asked))
    await connection.close()
    return (answer["rows"] if isinstance(answer, dict) else answer)[0]["character"]


async def closed_loop(pictures: list[bytes], seconds: float) -> float:
    """Answers a second, where each connection asks as soon as it has one."""
    left, end = cycle(pictures), time.perf_counter() + seconds

    async def client() -> int:
        """How many one connection got."""
        connection, count = await Connection().open(), 0
        while time.perf_counter() < end:
            await connection.ask(next(left))
            count += 1
        await connection.close()
        return count

    start = time.perf_counter()
    counts = await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return sum(counts) / (time.perf_counter() - start)


async def open_loop(pictures: list[bytes], a_second: float) -> list[float]:
    """Seconds from when a request is due to its answer, where so many a second are."""
    number = max(int(a_second * SECONDS), 100)
    free = asyncio.Queue[Connection]()
    for _ in range(4 * CONNECTIONS):
        free.put_nowait(await Connection().open())
    start = time.perf_counter()

    async def client(index: int, asked: bytes) -> float:
        """One request."""
        due = start + index / a_second
        await asyncio.sleep(due - time.perf_counter())
        connection = await free.get()
        await connection.ask(asked)
        free.put_nowait(connection)
        return time.perf_counter() - due

    found = await asyncio.gather(*map(client, range(number), cycle(pictures)))
    while not free.empty():
        await free.get_nowait().close()
    return found


def table(rows: list[dict]) -> str:
    """In Markdown."""
    ours = next(row for row in rows if row["way"] == OURS)
    lines = [
        "# Serving",
        "",
        f"One image a request, in a form; one client on the same processors, {CONNECTIONS} "
        "connections; latency at half of the most requests a second, each server's own; medians of "
        f"{ROUNDS} interleaved rounds. By `python -m benchmarks.serving`.",
        "",
        machine(),
        "",
        "`k49 serve` prepares each picture (finds the ink, cuts to it), averages over nine shifted "
        "copies (TTA), and says what it doubts. The others, `benchmarks/rival_server.py`, read the "
        "pixels once, "
        "as they are, with the same weights, which all of them take from Keras' file: a part of "
        "their start and of their memory is Keras. Memory is that of all processes, what they "
        "share counted once.",
        "",
        "| server | data | requests a second | k49 serve has | median, ms | p99, ms | start, s "
        "| MiB | reads as k49 serve |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            *(row["way"], row["data"], f"{row['a_second']:,.0f}"),
            f"{ours['a_second'] / row['a_second']:.1f} times",
            *(f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}", f"{row['start_s']:.2f}"),
            *(f"{row['memory_mib']:,.0f}", f"{row['as_ours']:.3f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
