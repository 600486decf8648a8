"""What one server takes on, and how it refuses the rest."""

from dataclasses import dataclass

MOST_BODY = 8 << 20  # bytes of a request
MOST_HEAD = 64 << 10  # bytes of a request's headers
MOST_PICTURES = 16  # of a request
# All of these, with a file for each body, are fewer than the 1,024 files that a process may open
MOST_IDLE = 256  # connections on which no request has begun
MOST_ARRIVING = 128  # requests whose bodies are still on their way
MOST_WAITING = 128  # requests that have arrived and wait for a process
IN_MEMORY = 64 << 10  # bytes of a body above which it lies on disk until it is read


@dataclass(frozen=True)
class Limits:
    """What its owner may set."""

    workers: int  # processes that read
    seconds: float  # that a request may take to arrive, to wait, and to be read: each


class Refused(Exception):
    """A request that isn't answered: by which HTTP status, and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
