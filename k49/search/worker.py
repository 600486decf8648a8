"""What a Dask worker does: train a trial in a process of its own, and report each epoch."""

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from distributed import get_worker

from k49.data import Dataset
from k49.process import in_own_process, start_server
from k49.search.trials import Result
from k49.settings import TrainingConfig


@dataclass(frozen=True)
class Job:
    """One attempt at a trial."""

    config: TrainingConfig
    threads: int
    topic: str  # of Dask's events, to which each epoch's val_accuracy goes


def train_trial(job: Job, data: tuple[Dataset, Dataset]) -> Result:
    """Train a trial in a process of its own, until its end or until the search cancels it.

    Args:
        job: the trial, its threads, and where to report to.
        data: train and validation.

    Raises:
        KilledError: the process was killed, which is how memory runs out on Linux.
        UnwantedError: the search has cancelled it.
    """
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        state = worker.state.tasks.get(key)
        return state is not None and state.state == "executing"

    allow_children()
    start_server("k49.training.fit")
    return in_own_process(train, job, *data, on_report=partial(report_epoch, job), wanted=wanted)


def report_epoch(job: Job, val_accuracy: float) -> None:
    """Send the val_accuracy of an epoch of this thread's trial to the search."""
    worker = get_worker()
    event = {"key": worker.get_current_task(), "val_accuracy": val_accuracy}
    worker.log_event(job.topic, event)


def train(job: Job, train: Dataset, val: Dataset, report: Callable[[float], None]) -> Result:
    """Train the trial; `job.threads` is fixed, since it changes the last digits of results."""
    import tensorflow as tf  # here, in the trial's own process, and not in the worker's

    from k49.training.fit import DivergedError, fit

    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    tf.config.threading.set_inter_op_parallelism_threads(job.threads)
    curve: list[float] = []

    def on_epoch(figures: dict[str, float]) -> None:
        curve.append(figures["val_accuracy"])
        report(figures["val_accuracy"])

    try:
        training = fit(job.config, train, val, on_epoch)
    except DivergedError:
        return Result(curve, error="diverged: the loss became NaN")
    return Result(curve, kept=training.at_kept_epoch("val_accuracy"))


def allow_children() -> None:
    """Allow this process to start others, although Dask's nanny has made a worker daemonic.

    What is started here ends by itself when the worker is gone, which is all that daemonic is for.
    """
    with suppress(AttributeError):
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
