"""Files: ours are written whole or not at all; JSON and YAML from elsewhere are bounded.

Pictures are opened in `pictures/files.py`, arrays in `data/arrays.py`, models in `model_file.py`.
"""

import glob
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest, sha256
from pathlib import Path
from stat import S_ISREG
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from k49.errors import K49Error
from k49.text import printable

MOST_CLASSES = 256  # of a dataset or a model
MOST_JSON = 1 << 24  # bytes: twice what 256 classes have in plots/confusion.json
MOST_YAML = 1 << 19  # bytes: params.yaml has 9,000
MOST_DIGITS = 100  # of a whole number
TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")
}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` that becomes `path` if the block ends well.

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
    """Remove temporary files of a path whose processes were killed in `atomic_write`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp{glob.escape(path.suffix)}"):
        number = left.name.removesuffix(path.suffix).split(".")[-2]
        if number.isdecimal() and not runs(int(number)):
            left.unlink(missing_ok=True)


def runs(number: int) -> bool:
    """Return whether a process of this number may still write; a zombie may not."""
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


def md5(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "md5").hexdigest()


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
    with atomic_write(path) as tmp:
        tmp.write_text(text, encoding="utf-8")


def write_yaml(path: Path, content: dict) -> None:
    write_text(path, yaml_text(content))


def yaml_text(content: dict) -> str:
    yaml = YAML()
    yaml.default_flow_style = False
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()


def flatten(content: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
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


def read_bytes(path: Path, most: int) -> bytes:
    """Read a file of `most` bytes at most.

    Raises:
        K49Error: it isn't there, is larger, or is no ordinary file but, say, a pipe without an end.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise K49Error(f"{path}: not a file")
        check_size(status.st_size, most, str(path))
        with path.open("rb") as file:
            return file.read(most)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise K49Error(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from error


def check_size(size: int, most: int, where: str) -> None:
    """Raise K49Error if something has more than `most` bytes."""
    if size > most:
        raise K49Error(f"{where}: {size:,} bytes, {most:,} at most")


def read_json(path: Path, *keys: str) -> Any:
    """Read a JSON file; the content as `parse_json` returns it.

    Raises:
        K49Error: it can't be read, or is no mapping with all of `keys`, if there are some.
    """
    content = parse_json(read_bytes(path, MOST_JSON), str(path))
    if keys and not (isinstance(content, dict) and set(keys) <= set(content)):
        raise K49Error(f"{path}: lacks {', '.join(keys)}; `dvc repro` writes it again")
    return content


def parse_json(content: bytes, where: str) -> Any:
    """Parse JSON, in UTF-8, without NaN and infinities.

    Args:
        content: to parse.
        where: its name in errors.

    Raises:
        K49Error: it is no such JSON.
    """
    check_size(len(content), MOST_JSON, where)
    try:
        return json.loads(content.decode("utf-8"), parse_constant=number, parse_float=number)
    except (ValueError, RecursionError) as error:
        raise K49Error(f"{where}: not valid JSON: {error}") from error


def number(text: str) -> float:
    """Return a finite number.

    Raises:
        ValueError: it is NaN, or infinite.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is no finite number")
    return value


def read_yaml(path: Path) -> Any:
    """Read a YAML file; return its content as `parse_yaml` does.

    Raises:
        K49Error: it can't be read, or is no YAML.
    """
    return parse_yaml(read_bytes(path, MOST_YAML), str(path))


def parse_yaml(content: bytes, where: str) -> Any:
    """Parse YAML 1.2, where `1e-5` is a number and a key stands only once.

    Args:
        content: to parse, in UTF-8.
        where: its name in errors.

    Returns:
        None, bool, int, float, str, and lists and mappings of them; keys are str.

    Raises:
        K49Error: it is no YAML, or holds something else, or aliases.
    """
    check_size(len(content), MOST_YAML, where)
    yaml = YAML(typ="safe", pure=True)
    try:
        constructor, _ = yaml.get_constructor_parser(content.decode("utf-8"))
        node = constructor.composer.get_single_node()
        if node is None:
            return None
        check_node(node, set())
        return constructor.construct_document(node)
    except (YAMLError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise K49Error(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def check_node(node: Node, seen: set[int]) -> None:
    """Raise ValueError if a value is of another kind than JSON's, or stands for another value."""
    tag, line = str(node.tag), node.start_mark.line + 1
    if id(node) in seen:
        raise ValueError(f"an alias of line {line}; write the value out")
    seen.add(id(node))
    if tag not in TAGS:
        raise ValueError(f"tag {tag:.80}, line {line}; put text in quotes")
    if isinstance(node, ScalarNode):
        if tag.endswith(":int") and len(node.value) > MOST_DIGITS:
            raise ValueError(f"a number of {len(node.value):,} digits, line {line}")
        return
    if isinstance(node, MappingNode):
        if not all(str(key.tag).endswith(":str") for key, _ in node.value):
            raise ValueError(f"a key that is no text, line {line}")
        parts = [value for _, value in node.value]
    else:
        parts = node.value
    for part in parts:
        check_node(part, seen)
