"""Opens arrays of files from outside, npz, npy, idx or CSV, and reads them a chunk at a time.

Headers are checked before use, and no more is read than they say: memory grows with a chunk, not
with the file. Nothing is unpickled.

idx is the format of MNIST, described at the end of yann.lecun.com/exdb/mnist: two zeros, a type,
the number of dimensions, the dimensions as big-endian uint32, then the numbers.
"""

import gzip
import io
import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, cast

import numpy as np

from k49.errors import K49Error

MOST_ROWS = 10_000_000  # 37 times K49's images
MOST_ROW_BYTES = 1 << 16  # of one image or label: 64 x 64 float64 are half of that
MOST_BYTES = 8 << 30  # that are unpacked: K49's images as float64 are 1.4 GiB
CHUNK_BYTES = 1 << 23
MOST_SMALL = MOST_ROWS  # bytes: a byte for each image
MOST_KEYS = 8  # that are read of an npz of small arrays
MOST_HEADER_BYTES = 10_000  # of an npy
GZIP = b"\x1f\x8b"
LABEL, LABELS = "label", (b"label", b"class", b"y")  # of a table's first column
MOST_LINE = 1 << 15  # bytes of a table's row: 64 x 64 pixels of three digits are half of that
LINES = 256  # of a table that are read at once
IDX_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}

# what zipfile, gzip and NumPy raise for damaged files; RuntimeError: encrypted, or a method that
# isn't known
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    TokenError,
    SyntaxError,
    TypeError,
    ValueError,
    EOFError,
    OverflowError,
    OSError,
    KeyError,
    RuntimeError,
    MemoryError,
    RecursionError,
)


@dataclass(frozen=True)
class File:
    path: Path
    shown: str  # its name in errors: it may be a download


@dataclass(frozen=True)
class Array:
    """An array that is open, its header read and bounded."""

    where: str  # its name in errors
    shape: tuple[int, ...]  # (N, ...), N from 1
    dtype: np.dtype
    content: IO[bytes] | gzip.GzipFile  # behind the header

    def __len__(self) -> int:
        return self.shape[0]

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield all rows once, as many at a time as CHUNK_BYTES hold.

        Raises:
            K49Error: there are fewer or more than the header says, or the file is damaged.
        """
        row = self.dtype.itemsize * math.prod(self.shape[1:])
        at_once = max(1, CHUNK_BYTES // row)
        for first in range(0, len(self), at_once):
            n = min(at_once, len(self) - first)
            content = self._read(n * row)
            if len(content) < n * row:
                size = first * row + len(content)
                raise K49Error(
                    f"{self.where}: holds {size:,} bytes of data, its header says {self.shape}"
                )
            try:
                yield from_bytes(content, self.dtype, (n, *self.shape[1:]))
            except ValueError as error:
                raise K49Error(f"{self.where}: {error}") from error
        if self._read(1):  # also checks the sum of what was read
            raise K49Error(f"{self.where}: holds more data than its header says, {self.shape}")

    def _read(self, size: int) -> bytes:
        try:
            return self.content.read(size)
        except UNREADABLE as error:
            raise unreadable(self.where, error) from error


@contextmanager
def open_array(file: File, key: str | None = None) -> Iterator[Array]:
    """Open an array: of an npz the one called `key`, or its only one; of another file the only one.

    Of a CSV, key "label" is the first column, and another one the others, pixels.

    Raises:
        K49Error: the file is missing, damaged or of another format, or its header claims an array
            that is empty, of objects, in Fortran order, or too large.
    """
    suffix = file.path.suffix.lower()
    with ExitStack() as stack:
        try:
            if suffix == ".npz":
                array = _npz(file, key, stack)
            elif suffix == ".npy":
                content = stack.enter_context(file.path.open("rb"))
                array = Array(file.shown, *npy_header(content), content)
            elif suffix == ".csv":
                array = _csv(file, key, stack.enter_context(file.path.open("rb")))
            else:
                array = _idx(file, stack)
        except FileNotFoundError as error:
            raise K49Error(f"{file.shown}: not found") from error
        except UNREADABLE as error:
            raise unreadable(file.shown, error) from error
        yield check_header(array)


def read_whole(file: File, key: str) -> np.ndarray:
    """Read one array of an npz whole.

    Raises:
        K49Error: as `open_array` and `Array.chunks`.
    """
    with open_array(file, key) as array:
        return np.concatenate(list(array.chunks()))


def read_small(content: IO[bytes], where: str) -> dict[str, np.ndarray]:
    """Read all arrays of an npz that have MOST_SMALL bytes at most, also single numbers and words.

    Args:
        content: of the npz, opened for reading.
        where: its name in errors.

    Raises:
        K49Error: it is none, or one of its arrays is larger or of objects.
    """
    try:
        with zipfile.ZipFile(content) as archive:
            return {key: _small(archive, key) for key in keys_in(archive)[:MOST_KEYS]}
    except UNREADABLE as error:
        raise unreadable(where, error) from error


def _small(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as member:
        shape, dtype = npy_header(member)
        size = dtype.itemsize * math.prod(shape)
        if dtype.hasobject or not 0 <= size <= MOST_SMALL:
            raise ValueError(f"{key} claims {dtype} of shape {shape}")
        return from_bytes(member.read(size), dtype, shape)


def from_bytes(content: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of bytes from outside.

    Raises:
        ValueError: they are too few, or no text where they should be: what NumPy would only notice
            when it is read, and not as an error of Python's.
    """
    if dtype.kind == "U":
        signs = np.frombuffer(content, np.dtype("u4").newbyteorder(dtype.byteorder))
        if (signs > sys.maxunicode).any() or ((signs >= 0xD800) & (signs < 0xE000)).any():
            raise ValueError("holds numbers where there should be text")
    return np.frombuffer(content, dtype).reshape(shape)


def keys(file: File) -> list[str]:
    """Return the keys of an npz.

    Raises:
        K49Error: it is none.
    """
    try:
        with zipfile.ZipFile(file.path) as archive:
            return keys_in(archive)
    except UNREADABLE as error:
        raise unreadable(file.shown, error) from error


def keys_in(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist()]


def _npz(file: File, key: str | None, stack: ExitStack) -> Array:
    archive = stack.enter_context(zipfile.ZipFile(file.path))
    names = keys_in(archive)
    if key is None and len(names) == 1:
        key = names[0]
    if key not in names:
        lacks = "several arrays" if key is None else f"no array {key}"
        raise K49Error(f"{file.shown}: holds {lacks}; it has {', '.join(names[:8])[:200]}")
    member = archive.getinfo(f"{key}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # NumPy's
        raise ValueError(f"compressed by method {member.compress_type}, expected deflate or none")
    content = stack.enter_context(archive.open(member))
    where = file.shown if len(names) == 1 else f"{file.shown}, {key}"
    return Array(where, *npy_header(content), content)


def _idx(file: File, stack: ExitStack) -> Array:
    content: IO[bytes] | gzip.GzipFile = stack.enter_context(file.path.open("rb"))
    packed = content.read(2) == GZIP  # also under a name without .gz
    content.seek(0)
    if packed:
        content = stack.enter_context(gzip.GzipFile(fileobj=content))
    zeros, kind, dimensions = struct.unpack(">HBB", content.read(4))
    if zeros or kind not in IDX_DTYPES or not 1 <= dimensions <= 4:
        raise ValueError("no idx header")
    shape = struct.unpack(f">{dimensions}I", content.read(4 * dimensions))
    return Array(file.shown, shape, np.dtype(IDX_DTYPES[kind]), content)


def _csv(file: File, key: str | None, content: IO[bytes]) -> Array:
    """Open a table as Kaggle has MNIST: a row an image, its label first, then 0 to 255 a pixel."""
    first = content.readline(MOST_LINE).split(b",")
    header = not first[0].strip().isdigit()
    if header and first[0].strip(b' "\r\n').lower() not in LABELS:
        raise ValueError("its first column is not called label: it has no labels")
    content.seek(0)
    newlines, last = 0, b""
    while block := content.read(CHUNK_BYTES):
        newlines, last = newlines + block.count(b"\n"), block[-1:]
    n = newlines + (last != b"\n") - header
    content.seek(0)
    if header:
        content.readline(MOST_LINE)
    width = len(first)
    columns = slice(0, 1) if key == LABEL else slice(1, width)
    shape = (n,) if key == LABEL else (n, width - 1)
    return Array(
        file.shown, shape, np.dtype("u1"), cast(IO[bytes], Columns(content, width, columns))
    )


class Columns:
    """Some columns of a table of whole numbers, as bytes."""

    def __init__(self, content: IO[bytes], width: int, columns: slice) -> None:
        self.content, self.width, self.columns = content, width, columns
        self.ready = b""

    def read(self, size: int) -> bytes:
        while len(self.ready) < size:
            lines = [line for _ in range(LINES) if (line := self.content.readline(MOST_LINE))]
            if not lines:
                break
            rows = np.loadtxt(lines, np.uint8, delimiter=",", ndmin=2)
            if rows.shape[1] != self.width:
                raise ValueError(f"has rows of {self.width} and of {rows.shape[1]} columns")
            self.ready += rows[:, self.columns].tobytes()
        taken, self.ready = self.ready[:size], self.ready[size:]
        return taken


def npy_header(content: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Read shape and dtype of a `.npy` stream.

    Raises:
        ValueError: it is no such stream, or its array is in Fortran order.
    """
    version = np.lib.format.read_magic(content)
    known = {
        (1, 0): ("<H", np.lib.format.read_array_header_1_0),
        (2, 0): ("<I", np.lib.format.read_array_header_2_0),
    }
    if version not in known:
        raise ValueError(f"npy format version {version} is not known")
    length, read = known[version]
    start = content.read(struct.calcsize(length))
    (size,) = struct.unpack(length, start)
    if size > MOST_HEADER_BYTES:
        raise ValueError(f"its header claims to have {size:,} bytes")
    shape, fortran_order, dtype = read(io.BytesIO(start + content.read(size)))
    if fortran_order and len(shape) > 1:
        raise ValueError("the array is in Fortran order; save np.ascontiguousarray of it")
    return shape, dtype


def check_header(array: Array) -> Array:
    """Return an array whose header claims nothing impossible."""
    shape, dtype = array.shape, array.dtype
    if dtype.hasobject or dtype.names:
        raise K49Error(f"{array.where}: holds {dtype}, expected numbers or text")
    row = dtype.itemsize * math.prod(shape[1:])
    if not shape or min(shape) < 1 or not row:
        raise K49Error(f"{array.where}: is empty, its shape is {shape}")
    if shape[0] > MOST_ROWS or row > MOST_ROW_BYTES or shape[0] * row > MOST_BYTES:
        raise K49Error(
            f"{array.where}: claims {dtype} of shape {shape}; {MOST_ROWS:,} images of 64 x 64 at "
            f"most, and {MOST_BYTES >> 30} GiB"
        )
    return array


def unreadable(where: str, error: Exception) -> K49Error:
    why = " ".join(str(error).split())[:200] or type(error).__name__  # some have line breaks
    suffix = Path(where).suffix.lower()
    kind = {".npz": "npz", ".npy": "npy", ".gz": "idx.gz", ".csv": "CSV"}.get(suffix, "idx")
    if suffix in (".txt", ".parquet", ".json", ".mat"):
        return K49Error(f"{where}: {suffix} files can't be read; npz, npy, idx and csv can")
    return K49Error(f"{where}: not a readable {kind} file: {why}")
