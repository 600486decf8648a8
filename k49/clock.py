"""Where a process's time went, by kind of work."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS: dict[str, float] = {}  # kinds of work in the order in which they first occurred


@contextmanager
def timed(work: str) -> Iterator[None]:
    """Count the time that the block takes as `work`; blocks don't lie in each other."""
    start = time.perf_counter()
    try:
        yield
    finally:
        SECONDS[work] = SECONDS.get(work, 0.0) + time.perf_counter() - start


def report(seconds: float) -> str:
    """Of so many seconds in all, how many were what: `3.1 steps, 0.4 reading, 0.5 the rest`."""
    rest = max(seconds - sum(SECONDS.values()), 0.0)
    return ", ".join(f"{spent:.1f} {work}" for work, spent in {**SECONDS, "the rest": rest}.items())
