"""The one exception for what a user can put right, and what tells that memory ran out."""

import errno

from k49.shown import printable


class K49Error(Exception):
    """Bad input or a failed step. The message is one line: what is wrong, where, what to do."""

    def __init__(self, message: object) -> None:
        super().__init__(printable(message))


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
