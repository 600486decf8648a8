"""The exceptions for what a user can put right, and what tells that memory ran out."""

import errno
import sysconfig
import traceback
from contextlib import suppress
from pathlib import Path

from k49.shown import printable


class K49Error(Exception):
    """Bad input or a failed step. The message is one line: what is wrong, where, what to do."""

    def __init__(self, message: object) -> None:
        super().__init__(printable(message))


class NotComparableError(K49Error):
    """Two runs that have no test images in common, or a revision without a run."""


KEPT_PLACE = "place_in_k49"
LIBRARIES = {sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")}


def place_of(error: BaseException) -> str:
    """Return the file and line where code of this project, and of no library, raised an error."""
    if kept := getattr(error, KEPT_PLACE, None):
        return kept
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*LIBRARIES, "<"))]
    last = (own or list(frames))[-1]
    path = Path(last.filename)
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return f"{path}, line {last.lineno}"


def keep_place(error: BaseException) -> None:
    """Write `place_of` into an error that loses its traceback, as on its way to another process."""
    setattr(error, KEPT_PLACE, place_of(error))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python, of the system or of TensorFlow says that memory ran out.

    TensorFlow's can't be pickled: from another process comes its text.
    """
    said = f"{type(error).__name__} {error}"
    if isinstance(error, ImportError):  # a library that found no room
        return "llocate memory" in said or "failed to map segment" in said
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError) and "can't start new thread" in said:
        return True
    return isinstance(error, MemoryError) or "ResourceExhaustedError" in said
