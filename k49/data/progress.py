"""Progress bars, in a terminal and nowhere else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

COUNT = TextColumn("{task.completed:,} of {task.total:,}")


@contextmanager
def progress(amount: ProgressColumn) -> Iterator[Progress]:
    """Show a progress bar in a terminal, and nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        yield bar


def counted(chunks: Iterator[np.ndarray], what: str, total: int) -> Iterator[np.ndarray]:
    """Yield chunks of images, and show how many of `total` went by."""
    with progress(COUNT) as bar:
        task = bar.add_task(what, total=total)
        for chunk in chunks:
            bar.advance(task, len(chunk))
            yield chunk
