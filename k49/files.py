"""Files that are either whole or not there: written beside, synced, then renamed."""

import glob
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import psutil
from ruamel.yaml import YAML

from k49.errors import K49Error
from k49.shown import printable


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` if the block ends well.

    Raises:
        K49Error: the disk is full, or the folder can't be written to.
    """
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")  # .gitignore has .*.tmp*
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        yield tmp
        with tmp.open("rb") as file:
            os.fsync(file.fileno())
        tmp.replace(path)
    except OSError as error:
        where = f" ({error.filename})" if error.filename not in (None, str(tmp)) else ""
        raise K49Error(f"{path}: not written: {error.strerror or error}{where}") from error
    finally:
        with suppress(OSError):
            tmp.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed in the middle of `atomic_write` left of a path."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp{glob.escape(path.suffix)}"):
        number = left.name.removesuffix(path.suffix).split(".")[-2]
        if number.isdecimal() and not runs(int(number)):
            left.unlink(missing_ok=True)


def runs(number: int) -> bool:
    """Return whether a process of this number may still write: not if only its end is kept."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def hash_of(paths: Iterable[Path]) -> str:
    """Return eight digits of the SHA-256 of the contents of files, in their order."""
    digest = sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def write_json(path: Path, content: dict | list[dict]) -> None:
    """Write JSON for people and for git: a key or a row a line, UTF-8; NaN is refused."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    if isinstance(content, dict):
        lines = [f"{line(key)}: {line(value)}" for key, value in content.items()]
    else:
        lines = [line(row) for row in content]
    start, end = "{}" if isinstance(content, dict) else "[]"
    write_text(path, f"{start}\n " + ",\n ".join(lines) + f"\n{end}\n")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    with atomic_write(path) as tmp:
        tmp.write_text(text, encoding="utf-8")


def write_yaml(path: Path, content: dict) -> None:
    """Write a mapping as `yaml_text`."""
    write_text(path, yaml_text(content))


def yaml_text(content: dict) -> str:
    """Return a mapping as block-style YAML."""
    yaml = YAML()
    yaml.default_flow_style = False
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()


def flatten(content: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of nested sections."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def write_npy(path: Path, shape: tuple[int, ...], chunks: Iterable[np.ndarray]) -> None:
    """Write a uint8 array so that it can be memory-mapped; for the arguments see `write_rows`."""
    with atomic_write(path) as tmp, tmp.open("wb") as file:
        write_rows(file, shape, chunks)


def write_rows(file: IO[bytes], shape: tuple[int, ...], chunks: Iterable[np.ndarray]) -> None:
    """Write a uint8 array in NumPy's format.

    Args:
        file: to write to.
        shape: of the whole array.
        chunks: its rows, so many at a time: all of it need never be in memory.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for chunk in chunks:
        file.write(np.ascontiguousarray(chunk).data)


def read_npy(path: Path) -> np.ndarray:
    """Memory-map an array that `write_npy` wrote, read-only.

    Raises:
        K49Error: it isn't there, or is damaged.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise K49Error(f"{path}: not there; `dvc repro` makes it") from error
    except (OSError, ValueError, EOFError, SyntaxError, TokenError, TypeError) as error:
        raise K49Error(
            f"{path}: damaged ({printable(error, 100)}); remove it, and `dvc checkout` or `dvc "
            "repro` brings it back"
        ) from error
