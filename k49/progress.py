"""Progress bars in a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence
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

from k49.shown import printable

LINE_SECONDS = 10
MANY = 20  # files or revisions that take more than a moment
Thing = TypeVar("Thing")
COUNT = TextColumn("{task.completed:,} of {task.total:,}")


class Bar(Progress):
    """A progress bar in a terminal; elsewhere a line every LINE_SECONDS."""

    def __init__(self, amount: ProgressColumn) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
        self.terminal = sys.stderr.isatty()
        self.said = time.monotonic()
        super().__init__(*columns, console=Console(stderr=True), disable=not self.terminal)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Move a task on, as Rich's does."""
        super().update(task_id, **changes)
        if self.terminal or time.monotonic() - self.said < LINE_SECONDS:
            return
        self.said = time.monotonic()
        task = self.tasks[self.task_ids.index(task_id)]
        far = f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total else "")
        left = f", {task.time_remaining:.0f} s left" if task.time_remaining is not None else ""
        print(f"{printable(task.description, 80)}: {far}{left}", file=sys.stderr, flush=True)


def each(things: Sequence[Thing], what: str) -> Iterator[Thing]:
    """Yield things one by one; if they are many, show how many went by."""
    if len(things) < MANY:
        yield from things
        return
    with Bar(COUNT) as bar:
        task = bar.add_task(what, total=len(things))
        for thing in things:
            yield thing
            bar.update(task, advance=1)


def counted(chunks: Iterator[np.ndarray], what: str, total: int) -> Iterator[np.ndarray]:
    """Yield chunks of images, and show how many of `total` went by."""
    with Bar(COUNT) as bar:
        task = bar.add_task(what, total=total)
        for chunk in chunks:
            bar.update(task, advance=len(chunk))
            yield chunk
