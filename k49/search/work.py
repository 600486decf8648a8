"""What a Dask worker does with a trial: train it in its own process, and tell of each epoch."""

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


def work(job: Job, data: tuple[Dataset, Dataset]) -> Result:
    """Train a trial here, until its end or until the search no longer wants it.

    Raises:
        KilledError: the process was killed, which is how memory runs out on Linux.
        UnwantedError: the search has dropped it.
    """
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        state = worker.state.tasks.get(key)
        return state is not None and state.state == "executing"

    may_have_children()
    start_server("k49.training.fit")
    return in_own_process(train, job, *data, on_report=partial(tell, job), wanted=wanted)


def tell(job: Job, val_accuracy: float) -> None:
    """Tell the search of an epoch of the trial that this thread of a worker is at."""
    worker = get_worker()
    told = {"key": worker.get_current_task(), "val_accuracy": val_accuracy}
    worker.log_event(job.topic, told)


def train(job: Job, train: Dataset, val: Dataset, report: Callable[[float], None]) -> Result:
    """The trial itself, with so many threads: another number would change the last digits."""
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
    return Result(curve, kept=training.kept("val_accuracy"))


def may_have_children() -> None:
    """Let this process start others, although Dask's nanny has made a worker daemonic.

    What is started here ends by itself when the worker is gone, which is all that daemonic is for.
    """
    with suppress(AttributeError):
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
