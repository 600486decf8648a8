"""Where a process's time went, by kind of work, and how much memory it took."""

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

seconds: dict[str, float] = defaultdict(
    float
)  # of each kind of work, in the order in which they first occurred
peaks = [0.0]  # MiB, of other processes that did work for this one


@contextmanager
def timed(work: str) -> Iterator[None]:
    """Count the time that the block takes as `work`; blocks must not be nested."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[work] += time.perf_counter() - start


def peak_memory() -> float:
    """Return the peak resident memory of this process and those that worked for it, MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts in bytes, Linux in KiB
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, *peaks)


def summary(total: float) -> str:
    """Return `4.0 s (3.1 steps, 0.9 the rest), peak memory 650 MiB`, of `total` seconds."""
    rest = {"the rest": max(total - sum(seconds.values()), 0.0)}
    parts = ", ".join(f"{spent:.1f} {work}" for work, spent in {**seconds, **rest}.items())
    where = f" ({parts})" if seconds else ""
    return f"{total:.1f} s{where}, peak memory {peak_memory():.0f} MiB"
