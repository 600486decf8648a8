"""How long the search itself takes for a trial, as workers and trials grow.

    python -m benchmarks.scaling [--workers 1 4 16 64] [--trials 100]

Trials here only sleep; workers are Dask's, in one process, so what is measured is all that a search
does beside training: to ask, to hand out, to hear of epochs, to keep and to tell. Writes
benchmarks/scaling.json and .md.
"""

import argparse
import io
import time
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from benchmarks.epoch import machine, publish
from benchmarks.ways import search_of
from k49.data import Dataset, one_hot
from k49.search import pool
from k49.search.search import search
from k49.search.trials import Result
from k49.search.worker import Job, report_epoch

EPOCHS = 10


def asleep(job: Job, data: tuple[Dataset, Dataset]) -> Result:
    """A trial that sleeps, and tells of its epochs as one that trains."""
    for epoch in range(EPOCHS):
        time.sleep(SECONDS / EPOCHS)
        report_epoch(job, epoch / EPOCHS)
    return Result([epoch / EPOCHS for epoch in range(EPOCHS)], kept=0.9)


SECONDS = 2.0  # that each trial sleeps


def main() -> None:
    """A search for each number of workers, and one with ten times the trials."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--trials", type=int, default=100)
    options = parser.parse_args()
    sizes = [(workers, options.trials) for workers in options.workers]
    sizes += [(options.workers[-1], 10 * options.trials)]
    rows = [measured(*size) for size in sizes]
    publish("scaling", rows, table(rows))


def measured(workers: int, trials: int) -> dict:
    """Seconds of a search, and of what its trials slept, one worker after the other."""
    config = search_of("report", trials=trials, epochs=EPOCHS, workers=workers)
    tiny = Dataset(np.zeros((49, 28, 28, 1), np.uint8), one_hot(np.arange(49), 49))
    with (
        TemporaryDirectory() as scratch,
        patch.object(pool, "train_trial", asleep),
        redirect_stdout(io.StringIO()),
    ):
        start = time.perf_counter()
        search(config, tiny, tiny, Path(scratch))
        seconds = time.perf_counter() - start
    slept = -(-trials // workers) * SECONDS
    return {
        "workers": workers,
        "trials": trials,
        "seconds": seconds,
        "slept": slept,
        "ms_a_trial": 1000 * (seconds - slept) / trials,
    }


def table(rows: list[dict]) -> str:
    """In Markdown."""
    lines = [
        "# What a search takes beside training",
        "",
        f"Trials that sleep for {SECONDS:.0f} s and tell of {EPOCHS} epochs, by "
        "`python -m benchmarks.scaling`.",
        "",
        machine(),
        "",
        "| workers | trials | seconds | of which asleep | the search, ms a trial |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['workers']} | {row['trials']} | {row['seconds']:.1f} | {row['slept']:.1f} | "
        f"{row['ms_a_trial']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
