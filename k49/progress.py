"""How far long work is, in a bar or in lines; and where time and memory of a process went."""

import re
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from k49.text import printable

LINE_SECONDS = 10
MANY = 20  # files or revisions that take more than a moment
Thing = TypeVar("Thing")
COUNT = TextColumn("{task.completed:,} of {task.total:,}")


class Bar(Progress):
    def __init__(self, amount: ProgressColumn) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
        self.terminal = sys.stderr.isatty()
        self.said = time.monotonic()
        super().__init__(*columns, console=Console(stderr=True), disable=not self.terminal)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        if self.terminal or time.monotonic() - self.said < LINE_SECONDS:
            return
        self.said = time.monotonic()
        task = self.tasks[self.task_ids.index(task_id)]
        far = f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total else "")
        left = f", {task.time_remaining:.0f} s left" if task.time_remaining is not None else ""
        print(f"{printable(task.description, 80)}: {far}{left}", file=sys.stderr, flush=True)


def tracked(things: Sequence[Thing], description: str) -> Iterator[Thing]:
    """Yield things one by one; if they are many, show how many went by."""
    if len(things) < MANY:
        yield from things
        return
    with Bar(COUNT) as bar:
        task = bar.add_task(description, total=len(things))
        for thing in things:
            yield thing
            bar.update(task, advance=1)


def counted(chunks: Iterator[np.ndarray], description: str, total: int) -> Iterator[np.ndarray]:
    """Yield chunks of images, and show how many of `total` went by."""
    with Bar(COUNT) as bar:
        task = bar.add_task(description, total=total)
        for chunk in chunks:
            bar.update(task, advance=len(chunk))
            yield chunk


# of each kind of work, in the order in which they first occurred
seconds: dict[str, float] = defaultdict(float)
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
    """Return the peak resident memory of this process and its helper processes, MiB."""
    # on Linux, where getrusage counts the peak of the process before `exec`, too
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"VmHWM:\s+(\d+)", status.read_text())):
        own = int(peak[1]) / 2**10
    else:
        unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts in bytes, others in KiB
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return max(own, *peaks)


def summary(total: float) -> str:
    """Return `4.0 s (3.1 steps, 0.9 the rest), peak memory 650 MiB`, of `total` seconds."""
    rest = {"the rest": max(total - sum(seconds.values()), 0.0)}
    parts = ", ".join(f"{spent:.1f} {work}" for work, spent in {**seconds, **rest}.items())
    where = f" ({parts})" if seconds else ""
    return f"{total:.1f} s{where}, peak memory {peak_memory():.0f} MiB"
