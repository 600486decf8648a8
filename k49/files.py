"""Files that are either whole or not there: written beside, synced, then renamed."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from k49.errors import K49Error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` if the block ends well.

    Raises:
        K49Error: the disk is full, or the folder can't be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise K49Error(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, content: dict | list) -> None:
    """Write JSON for people and for git: a key or a flat list a line; NaN is refused."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]|\{[^\[\]{}]*\}(?=,?\n \{|,?\n\])", _one_line, text)
    with whole(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def _one_line(match: re.Match) -> str:
    return " ".join(match[0].split()).replace("[ ", "[").replace(" ]", "]")


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write an array so that it can be memory-mapped."""
    with whole(path) as beside:
        np.save(beside, array, allow_pickle=False)


def read_npy(path: Path) -> np.ndarray:
    """Memory-map an array that `write_npy` wrote, read-only."""
    return np.load(path, mmap_mode="r", allow_pickle=False)
