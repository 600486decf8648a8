"""The journal of a search: a line for each finished trial, on the disk before the next one starts.

Lines are only ever appended, and each is synced, so that neither `kill -9` nor a power cut nor a
full disk takes a finished trial. Each has a checksum: of one that was damaged, or only half
written, the trial runs again. A file is called by what determines the results, so a changed setting
finds none and begins its own; it stays after the search, which is then never run a second time.
"""

import json
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Self
from zlib import crc32

from filelock import FileLock, Timeout
from pydantic import BaseModel

from k49.data import Dataset
from k49.errors import K49Error
from k49.outside import read_bytes
from k49.search.trials import Result, Trial, record
from k49.search.versions import network_source, versions_and_code
from k49.settings import SearchConfig

MOST_BYTES = 1 << 28  # 10,000 trials of 1,000 epochs
# Without effect on any result, so not part of what a search is called
WITHOUT_EFFECT = {"tune": {"workers", "scheduler"}}


class Journal:
    """One search's results, of this process and of those before it.

    A context manager: only one process at a time has a journal open.

    Args:
        folder: of journals; may be new.
        config, data: of the search, of `total` trials.
        say: is told in a line if another process has the journal, whose end is then waited for.
    """

    def __init__(
        self,
        folder: Path,
        config: SearchConfig,
        data: Iterable[Dataset],
        total: int,
        say: Callable[[str], None] = print,
    ) -> None:
        source = network_source(config.space.network)
        versions = {**versions_and_code(), **({"network": source} if source else {})}
        key = {"settings": settings_of(config), "versions": versions}
        self.path = folder / f"{name_of(key, data)}.jsonl"
        self.header = {"begun": now(), "total": total, **key}
        self.ended: str | None = None  # when the search ended, ISO 8601
        self.damaged = 0  # lines that can't be read
        self.results: dict[str, Result] = {}
        self.say = say
        self.lock = FileLock(lock_of(self.path))

    def __enter__(self) -> Self:
        """Wait for other processes that have the journal, then read it.

        Raises:
            K49Error: the folder can't be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.lock.acquire(timeout=0)
            except Timeout:
                self.say(f"this search is running already; waiting for its end ({self.path})")
                self.lock.acquire()
        except OSError as error:
            raise K49Error(f"{self.path}: can't be locked: {error.strerror or error}") from error
        for line in read_lines(self.path):
            if line is None:
                self.damaged += 1
            elif "trial" in line:
                result = Result(curve=line["curve"], kept=line["kept"], error=line["error"])
                self.results[identity(line)] = result
            else:
                self.ended = line.get("ended", self.ended)
        return self

    def __exit__(self, *error: object) -> None:
        """Let other processes have it."""
        self.lock.release()

    def get(self, trial: Trial) -> Result | None:
        """Return the result of a trial that was finished already; else None."""
        return self.results.get(identity(record(trial, Result([]))))

    def add(self, trial: Trial, result: Result) -> None:
        """Write a result to the disk.

        Raises:
            K49Error: the disk is full, or the folder can't be written to.
        """
        line = record(trial, result)
        self.results[identity(line)] = result
        try:
            if not self.path.exists():
                append(self.path, self.header)
                fsync_folder(self.path.parent)  # where its name stands
            append(self.path, line)
        except OSError as error:
            raise K49Error(
                f"{self.path}: trial {trial.number} not written: {error.strerror or error}; the "
                "trials before it are kept, and `dvc repro` goes on"
            ) from error

    def end(self) -> None:
        """Write that the search has ended, unless that is written."""
        if self.ended is None:
            self.ended = now()
            append(self.path, {"ended": self.ended})

    def discard(self) -> None:
        """Remove the journal."""
        self.path.unlink(missing_ok=True)


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def lock_of(journal: Path) -> Path:
    """Return the file that a process holds while it has a journal open."""
    return journal.with_suffix(".lock")


def append(path: Path, line: dict) -> None:
    """Append a line to a file, and return when it is on the disk.

    It starts with a line feed: what a power cut left of the line before is then a line by itself.
    """
    with path.open("ab") as file:
        file.write(b"\n" + dumps({**line, "crc32": checksum(line)}))
        file.flush()
        os.fsync(file.fileno())


def dumps(line: dict) -> bytes:
    """Return a line as it stands in the file."""
    return json.dumps(line, ensure_ascii=False).encode()


def checksum(line: dict) -> int:
    """Return the CRC-32 of a line without its checksum."""
    return crc32(dumps(line))


def fsync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[dict | None]:
    """Return the lines of a journal, None for damaged ones; no lines if there is no file.

    Raises:
        K49Error: it can't be read.
    """
    content = read_bytes(path, MOST_BYTES) if path.exists() else b""
    return [read_line(text) for text in content.split(b"\n") if text]


def read_line(text: bytes) -> dict | None:
    """Return a line that is whole and says what one of its kind says; None for others."""
    try:
        line = json.loads(text)
        if line.pop("crc32") != checksum(line):
            return None
        (TrialLine if "trial" in line else Header if "begun" in line else End)(**line)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):  # another's JSON
        return None
    return line


class TrialLine(BaseModel):
    """A finished trial."""

    trial: int
    hyperparameters: dict
    epochs: int
    curve: list[float]
    kept: float | None
    error: str | None


class TuneOfHeader(BaseModel):
    """What `k49 trials` shows of a search's settings."""

    tuner: str
    space: str


class SettingsOfHeader(BaseModel):
    """The settings of a search."""

    tune: TuneOfHeader


class Header(BaseModel):
    """How a journal begins."""

    begun: str
    total: int
    settings: SettingsOfHeader


class End(BaseModel):
    """How it ends."""

    ended: str


def identity(line: dict) -> str:
    """Return what identifies a line's trial: its number, hyperparameters and epochs."""
    return json.dumps([line["trial"], line["hyperparameters"], line["epochs"]], sort_keys=True)


def settings_of(config: SearchConfig) -> dict:
    """Return all settings that a result depends on."""
    return config.model_dump(mode="json", exclude=WITHOUT_EFFECT)


def name_of(key: dict, data: Iterable[Dataset]) -> str:
    """Hash settings, versions and data to sixteen hexadecimal digits."""
    digest = sha256(json.dumps(key, sort_keys=True).encode())
    for dataset in data:
        for array in (dataset.images, dataset.labels):
            digest.update(repr(array.shape).encode())
            digest.update(array.data)
    return digest.hexdigest()[:16]
