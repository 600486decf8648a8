"""Errors that a user can put right; and how a process ends: in one line, without a traceback."""

import errno
import os
import signal
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from k49.text import printable


class K49Error(Exception):
    """Bad input or a failed step. The message is one line: the fault, its place, the remedy."""

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
    text = f"{type(error).__name__} {error}"
    if isinstance(error, ImportError):  # a library that found no room
        return "llocate memory" in text or "failed to map segment" in text
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return True
    return isinstance(error, MemoryError) or "ResourceExhaustedError" in text


STOPPED = 130  # exit status, as of a program that Ctrl-C has ended
NO_READER = 128 + signal.SIGPIPE
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}


def status_of(name: str, body: Callable[[], int | None], to_lower: str, stopped: str) -> int:
    """Call `body`; return the exit status, after a line on stderr for any error.

    Args:
        name: the beginning of the line: "error" or "error in train".
        body: to call; it returns the exit status, None is 0.
        to_lower: settings that need less memory if they are lowered.
        stopped: the line after Ctrl-C or SIGTERM.
    """
    killed = f"{name}: killed or aborted, most likely because memory ran out; {to_lower}"
    with signal_as_ctrl_c(), obituary(killed):
        try:
            return body() or 0
        except KeyboardInterrupt:
            line, status = stopped, STOPPED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where Python flushes the rest
            return NO_READER
        except Exception as error:
            line, status = f"{name}: {explain(error, to_lower)}", 1
        print(printable(line), file=sys.stderr)
        return status


def explain(error: Exception, to_lower: str) -> str:
    if isinstance(error, K49Error):
        return str(error)
    if is_out_of_memory(error):
        return f"out of memory; {to_lower}"
    if isinstance(error, OSError):
        return f"{error.filename or 'system'}: {error.strerror or error}"
    cause = f"{place_of(error)}: {type(error).__name__}: {printable(error, 200)}"
    return (
        f"a bug in k49, or in what was changed in it, at {cause}; {traceback_kept(error)} "
        "(CONTRIBUTING.md says how to report it)"
    )


def traceback_kept(error: Exception) -> str:
    """Write an error's traceback to a file, and say where; or else where it was raised."""
    text = "".join(traceback.format_exception(error))
    try:
        with NamedTemporaryFile("w", prefix="k49-bug-", suffix=".txt", delete=False) as file:
            file.write(text.encode("ascii", "backslashreplace").decode())
        return f"the traceback is in {file.name}"
    except OSError:  # a full disk
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"raised in {Path(last.filename).name}, line {last.lineno}"


@contextmanager
def signal_as_ctrl_c() -> Iterator[None]:
    """Let `kill` stop this process as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def obituary(line: str) -> Iterator[None]:
    """Leave a process behind that prints a line if this one is killed before the block ends.

    Linux kills what takes too much memory, and libraries in C++ abort: Python can say nothing then.
    """
    reading, writing = os.pipe()
    shown = printable(line).encode("ascii", "backslashreplace").decode()
    try:  # a shell, since a fork of a large process takes long, and memory
        left_behind = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", 'read -r end || printf "%s\\n" "$0" >&2', shown],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_CLOSE, 1)],
            setsigmask=SIGNALS,  # it survives Ctrl-C
        )
    except OSError:  # no memory, or no process more: then it isn't said
        left_behind = 0
    os.close(reading)
    try:
        yield
    finally:
        if left_behind:
            with suppress(OSError):
                os.write(writing, b".\n")
                os.waitpid(left_behind, 0)
        os.close(writing)
