"""MD5 sums of files, and lists of them."""

import hashlib
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field

from k49.settings import Section

MD5SUMS = "md5sums"  # what a list of them is called, beside the files
MOST_BYTES = 1 << 20  # of a list


class Checksum(Section):
    """What a file must be: MD5 (32 hexadecimal digits), and size in bytes where known."""

    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    size: Annotated[int, Field(ge=1)] | None = None

    def __str__(self) -> str:
        return f"{self.size} bytes, MD5 {self.md5}" if self.size else f"MD5 {self.md5}"


def md5(path: Path) -> str:
    """Return a file's MD5, 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def matches(path: Path, checksum: Checksum) -> bool:
    """Return whether a file has the expected size and MD5."""
    if checksum.size not in (None, path.stat().st_size):
        return False
    return md5(path) == checksum.md5


def read_md5sums(path: Path) -> tuple[dict[str, Checksum], str]:
    """Parse a file as `md5sum` writes it, lines of `<32 digits>  <name>`.

    Returns:
        The checksums by file name, and how the file starts, for the error that finds none.
    """
    with path.open("rb") as file:
        text = file.read(MOST_BYTES).decode("utf-8", errors="replace")
    lines = re.findall(r"^([0-9a-f]{32}) [ *](.+?)\s*$", text, re.MULTILINE | re.IGNORECASE)
    start = f"it starts with {text[:40]!r}" if text.strip() else "it is empty"
    return {name: Checksum(md5=digits.lower()) for digits, name in lines}, start
