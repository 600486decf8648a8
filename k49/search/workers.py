"""The workers of a search: processes of this machine, or workers of a Dask cluster.

Both have the same four methods. A trial trains in a process of its own, which its worker starts,
and which takes TensorFlow's memory with it. Reports of epochs and ends arrive in a queue.
"""

import asyncio
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import numpy as np
from psutil import virtual_memory

from k49.data import Dataset
from k49.errors import K49Error
from k49.process import KilledError, in_own_process, start_server
from k49.search.results import Result, versions_and_code
from k49.settings import TrainingConfig, Tune

MEMORY = 2**30  # bytes for a trial; one of the default recipe takes 640 MiB
CONNECT_SECONDS = 5  # in which a scheduler has to answer at first
UPDATE_SECONDS = 1.0  # between two looks at the workers of a cluster
ANSWER_SECONDS = 10  # in which a scheduler has to name its workers
GONE_SECONDS = 60  # without an answer after which a scheduler is gone
RESULT_SECONDS = 30  # in which a result has to come from a worker

# (attempt, val_accuracy) of an epoch, or (attempt, None) when the training has ended
Events = SimpleQueue[tuple[int, float | None]]


def train_in_own_process(
    config: TrainingConfig,
    threads: int,
    data: tuple[Dataset, Dataset],
    on_epoch: Callable[[float], None],
    wanted: Callable[[], bool],
) -> Result:
    """Train a trial until its end, or until `wanted` says no.

    Args:
        config: of the training.
        threads: of TensorFlow; their number changes the last digits of results.
        data: train and validation.
        on_epoch: called with the val_accuracy of each epoch.
        wanted: asked several times a second.

    Raises:
        KilledError: the process was killed, which is how memory runs out on Linux.
        UnwantedError: `wanted` said no.
    """
    start_server("k49.training.fit")
    return in_own_process(train, config, threads, *data, on_report=on_epoch, wanted=wanted)


def train(
    config: TrainingConfig,
    threads: int,
    train: Dataset,
    val: Dataset,
    report: Callable[[float], None],
) -> Result:
    import tensorflow as tf  # here, in the trial's own process, and not in the worker's

    from k49.training.fit import DivergedError, fit

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    curve: list[float] = []

    def on_epoch(figures: dict[str, float]) -> None:
        curve.append(figures["val_accuracy"])
        report(figures["val_accuracy"])

    try:
        training = fit(config, train, val, on_epoch)
    except DivergedError:
        return Result(curve, error="diverged: the loss became NaN")
    return Result(curve, kept=training.at_kept_epoch("val_accuracy"))


class Here:
    NAME = ""

    def __init__(self, tune: Tune, data: tuple[Dataset, Dataset], events: Events) -> None:
        self.data, self.events = data, events
        self.threads_of_trial = tune.threads
        self._n = trials_at_once(tune)
        self._pool = ThreadPoolExecutor(self._n)  # each waits for a process
        self._over = threading.Event()

    def threads(self) -> dict[str, int]:
        return {self.NAME: self._n}

    def start(self, attempt: int, config: TrainingConfig, worker: str) -> Future:
        future = self._pool.submit(
            train_in_own_process,
            config,
            self.threads_of_trial,
            self.data,
            lambda val_accuracy: self.events.put((attempt, val_accuracy)),
            lambda: not self._over.is_set(),
        )
        future.add_done_callback(lambda _: self.events.put((attempt, None)))
        return future

    def why_lost(self, error: BaseException) -> str:
        return "its process was killed" if isinstance(error, KilledError) else ""

    def close(self) -> None:
        self._over.set()
        self._pool.shutdown(cancel_futures=True)


def trials_at_once(tune: Tune) -> int:
    """Return how many trials run at once on this machine: `tune.workers`, or one a processor.

    As far as memory is free; on a GPU one, of whose memory TensorFlow takes all.
    """
    if tune.workers is not None:
        return tune.workers
    import tensorflow as tf  # here: only after k49.training has set it up

    if tf.config.list_physical_devices("GPU"):
        return 1
    usable = getattr(os, "sched_getaffinity", None)  # which macOS doesn't have
    processors = len(usable(0)) if usable else os.cpu_count() or 1
    return int(max(1, min(processors // tune.threads, virtual_memory().available // MEMORY)))


# --- a cluster -----------------------------------------------------------------------------------


class Cluster:
    """The workers of a Dask scheduler, which may come and go.

    The search chooses the worker of each trial, and gives a worker as many trials as it has
    threads. So a worker that joins late gets work, and one with other versions gets none.

    Args:
        tune: the address of the scheduler, and the threads of a trial.
        data: train and validation, sent once to each worker.
        events: gets reports.
        say: prints a line for the user.

    Raises:
        K49Error: no scheduler answers at `tune.scheduler`, or it has other versions.
    """

    def __init__(
        self,
        tune: Tune,
        data: tuple[Dataset, Dataset],
        events: Events,
        say: Callable[[str], None],
    ) -> None:
        self.tune, self.events, self.say = tune, events, say
        self.topic = f"k49-{uuid4().hex}"
        self._threads: dict[str, int] = {}  # of each worker that may be used, by name
        self._addresses: dict[str, str] = {}
        self._refused: set[str] = set()  # addresses
        self._waiting = False  # for workers
        self._answered = time.monotonic()  # when the scheduler did, the last time
        self._updated = 0.0
        self.client = connect(tune.scheduler or "")
        check_versions(self.client, tune.scheduler or "")
        self.client.subscribe_topic(self.topic, lambda event: events.put(tuple(event[1])))
        self.data = self.client.submit(tuple, [in_memory(dataset) for dataset in data])

    def threads(self) -> dict[str, int]:
        """Return how many trials each worker can train at once, by its name.

        Raises:
            K49Error: the scheduler is gone.
        """
        if time.monotonic() - self._updated > UPDATE_SECONDS:
            self._update()
            self._updated = time.monotonic()
        return self._threads

    def start(self, attempt: int, config: TrainingConfig, worker: str) -> Any:
        future = self.client.submit(
            train_on_worker,
            config,
            self.tune.threads,
            self.data,
            (self.topic, attempt),
            key=f"{self.topic}-{attempt}",
            workers=[self._addresses[worker]],
            pure=False,
        )
        future.add_done_callback(lambda _: self.events.put((attempt, None)))
        return future

    def why_lost(self, error: BaseException) -> str:
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        if isinstance(error, KilledError | KilledWorker):
            return "its process was killed"
        lost = isinstance(error, CancelledError | TimeoutError | CommClosedError)
        return "it was out of reach" if lost else ""

    def close(self) -> None:
        with suppress(TimeoutError):  # what doesn't end in time ends with this process
            self.client.close(timeout=1)

    def _update(self) -> None:
        """Look at the workers: add new ones, and remove those that left."""
        try:
            present = self._ask_scheduler()
        except OSError as error:  # Dask tries to connect again, for a while
            silent = time.monotonic() - self._answered
            if self.client.status not in ("closed", "closing") and silent < GONE_SECONDS:
                return
            raise K49Error(
                f"the scheduler at {self.tune.scheduler} is gone; finished trials are kept, and "
                "`dvc repro` continues"
            ) from error
        self._answered = time.monotonic()
        known = {name: at for name, at in self._addresses.items() if at in present}
        new = sorted(set(present) - set(known.values()) - self._refused)
        versions = self.client.run(versions_and_code, workers=new, on_error="return") if new else {}
        workers = self.client.scheduler_info(n_workers=-1)["workers"] if new else {}
        for address in new:
            name = str(workers.get(address, {"name": address})["name"])
            if differ := differences(versions_and_code(), versions.get(address)):
                self._refused.add(address)
                self.say(f"worker {name} is refused, it has other versions: {differ}")
            else:
                known[name] = address
        self._addresses = known
        self._threads = {name: present[address] for name, address in known.items()}
        if not known and not self._waiting:
            self.say(
                f"waiting for workers: `dask worker {self.tune.scheduler} --nthreads 1` on any "
                "machine with this environment"
            )
        self._waiting = not known

    def _ask_scheduler(self) -> dict[str, int]:
        """Return how many threads each worker has, by address.

        Not by Dask's `client.nthreads`: where the scheduler dies before it answers, that waits for
        a coroutine that may never end, whatever limit it is given.

        Raises:
            OSError: there is no scheduler any more, or it didn't answer in time.
        """
        answer = asyncio.run_coroutine_threadsafe(
            self.client.scheduler.ncores(workers=None), self.client.loop.asyncio_loop
        )
        try:
            return answer.result(ANSWER_SECONDS)
        finally:
            answer.cancel()  # which doesn't wait for it


def connect(address: str) -> Any:
    """Return a client of the scheduler at an address."""
    try:
        import dask
        from distributed import Client
    except ValueError as error:  # of ~/.config/dask
        raise K49Error(f"Dask can't be imported: {error}") from error
    for name in ("distributed", "tornado", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the search itself tells what fails
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})
    try:
        return Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        why = str(error).strip().splitlines()[0]
        raise K49Error(
            f"tune.scheduler: no Dask scheduler answers at {address} ({why:.120}); start one with "
            "`dask scheduler`, or leave it empty and the trials run here"
        ) from error


def check_versions(client: Any, address: str) -> None:
    """Raise K49Error if the scheduler has other versions: it unpickles all messages."""
    try:
        theirs = client.run_on_scheduler(versions_and_code)
    except Exception as error:  # as of a module that isn't there
        theirs = error
    if differ := differences(versions_and_code(), theirs):
        raise K49Error(f"tune.scheduler: {address} has other versions: {differ}")


def differences(ours: dict[str, str], theirs: Any) -> str:
    """Return `keras 3.15.1 here, 3.14.0 there`; empty if versions are equal."""
    if not isinstance(theirs, dict):
        return f"k49 can't be used there ({' '.join(str(theirs).split()):.120})"
    return "; ".join(
        f"{name} {version} here, {theirs.get(name, 'none')} there"
        for name, version in ours.items()
        if theirs.get(name) != version
    )


def in_memory(dataset: Dataset) -> Dataset:
    """Copy a dataset into memory, so that its bytes are sent and not the names of its files."""
    return Dataset(np.array(dataset.images), np.array(dataset.labels))


def train_on_worker(
    config: TrainingConfig,
    threads: int,
    data: tuple[Dataset, Dataset],
    report_to: tuple[str, int],
) -> Result:
    """Train a trial where a Dask worker runs, until the search cancels it.

    Args:
        config, threads, data: as for `train_in_own_process`.
        report_to: topic of Dask's events, and number of the attempt.
    """
    from distributed import get_worker

    worker, (topic, attempt) = get_worker(), report_to
    key = worker.get_current_task()

    def wanted() -> bool:
        state = worker.state.tasks.get(key)
        return state is not None and state.state == "executing"

    def report(val_accuracy: float) -> None:
        worker.log_event(topic, [attempt, val_accuracy])

    # Dask's nanny has made the worker daemonic, which may not start processes. Processes that are
    # started here end by themselves when the worker is gone, which is the purpose of daemonic.
    with suppress(AttributeError):
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    return train_in_own_process(config, threads, data, report, wanted)
