"""The worker pool: Dask workers on this machine or on a cluster, and the trials that they train.

The search itself chooses the worker of each trial, and gives a worker as many trials as it has
threads. So a worker that joins late gets work, the trials of a lost worker are noticed, and a
worker with other versions gets none.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import numpy as np
from distributed import CancelledError, Future, KilledWorker
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError

from k49.data import Dataset
from k49.errors import K49Error
from k49.process import KilledError
from k49.search.cluster import check_versions, connect, differences
from k49.search.trials import Result
from k49.search.versions import versions_and_code
from k49.search.worker import Job, train_trial
from k49.settings import TrainingConfig, Tune

UPDATE_INTERVAL = 1.0  # seconds between two looks at which workers there are
EVENT_TIMEOUT = 0.25  # seconds for which `poll` waits for an event
SCHEDULER_TIMEOUT = 10  # seconds in which a scheduler has to name its workers
GIVE_UP = 60  # seconds without an answer of it after which it is gone
RESULT_TIMEOUT = 30  # seconds in which a result has to come from a worker


@dataclass(frozen=True)
class Epoch:
    """A trial has ended an epoch."""

    number: int
    val_accuracy: float


@dataclass(frozen=True)
class Done:
    """A trial's training is over."""

    number: int
    result: Result


@dataclass(frozen=True)
class Lost:
    """A trial has to run again: its worker is gone, or its process was killed."""

    number: int
    reason: str


@dataclass(frozen=True)
class Message:
    """A line for the user."""

    line: str


Event = Epoch | Done | Lost | Message


class WorkerPool:
    """Workers, and the trial that each of them trains. A context manager: its end cancels trials.

    Args:
        tune: number of workers, or the address of a scheduler.
        train: what a trial learns from.
        val: what a trial is scored on.

    Raises:
        K49Error: no scheduler answers at `tune.scheduler`, or it has other versions.
    """

    def __init__(self, tune: Tune, train: Dataset, val: Dataset) -> None:
        self.tune = tune
        self.topic = f"k49-{uuid4().hex}"  # of Dask's events, to which trials report epochs
        self.running: dict[int, tuple[Future, str]] = {}  # by trial number: its worker's address
        self.names: dict[str, str] = {}  # of all workers that were ever seen, by address
        self._queue: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._numbers: dict[str, int] = {}  # of the running trials, by the keys of their futures
        self._threads: dict[str, int] = {}  # of each worker that may be used, by address
        self._refused: set[str] = set()
        self._waiting = False  # for workers
        self._answered = time.monotonic()  # when the scheduler did, the last time
        self._updated = 0.0  # when it was last looked which workers there are
        self.client, self.cluster = connect(tune)
        self.client.subscribe_topic(self.topic, lambda event: self._queue.put(("epoch", event[1])))
        if tune.scheduler is None:
            self.data = self.client.submit(tuple, [train, val])
        else:  # sent once; workers that come later, or after it was lost, get it from another one
            check_versions(self.client, tune.scheduler)
            self.data = self.client.submit(tuple, [in_memory(train), in_memory(val)])

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self.running):
            self.cancel(number)
        for connection in (self.client, self.cluster):
            with suppress(TimeoutError):  # what doesn't end in time ends with this process
                if connection is not None:
                    connection.close(timeout=1)

    @property
    def size(self) -> int:
        """How many trials can run at once."""
        return sum(self._threads.values())

    def idle_worker(self) -> str | None:
        """Return the address of the worker with most idle threads; None if all are busy."""
        busy = [address for _, address in self.running.values()]
        idle = {address: n - busy.count(address) for address, n in self._threads.items()}
        address = max(idle, key=idle.__getitem__, default=None)
        return address if address is not None and idle[address] > 0 else None

    def start(self, number: int, config: TrainingConfig, address: str) -> None:
        """Train a trial on a worker."""
        future = self.client.submit(
            train_trial,
            Job(config, self.tune.threads, self.topic),
            self.data,
            key=f"{self.topic}-{number}-{uuid4().hex}",
            workers=[address],
            pure=False,
        )
        self.running[number] = future, address
        self._numbers[future.key] = number
        future.add_done_callback(lambda done: self._queue.put(("done", done)))

    def cancel(self, number: int) -> None:
        """End a trial; no further event is about it."""
        with suppress(ClosedClientError):  # the scheduler is gone, as the next look at it says
            self._forget(number).cancel()

    def poll(self) -> Iterator[Event]:
        """Yield what has happened since the last call; wait EVENT_TIMEOUT if nothing has."""
        if time.monotonic() - self._updated > UPDATE_INTERVAL:
            yield from self._update_workers()
            self._updated = time.monotonic()
        with suppress(Empty):
            kind, payload = self._queue.get(timeout=EVENT_TIMEOUT)
            while True:
                yield from self._events(kind, payload)
                kind, payload = self._queue.get_nowait()

    def _events(self, kind: str, payload: Any) -> Iterator[Event]:
        """Yield the event, unless it is about an attempt that was cancelled or lost."""
        number = self._numbers.get(payload["key"] if kind == "epoch" else payload.key)
        if number is None:
            return
        if kind == "epoch":
            yield Epoch(number, payload["val_accuracy"])
            return
        try:
            result = payload.result(timeout=RESULT_TIMEOUT)
        except (KilledError, KilledWorker):
            yield Lost(number, "its process was killed")
        except (CancelledError, TimeoutError, CommClosedError):
            yield Lost(number, "it was out of reach")
        else:
            yield Done(number, result)
        self._forget(number).release()

    def _forget(self, number: int) -> Future:
        future, _ = self.running.pop(number)
        del self._numbers[future.key]
        return future

    def _update_workers(self) -> Iterator[Event]:
        """Look which workers there are: add new ones, and give up the trials of those that left."""
        if self.cluster is not None and self._threads:
            return  # threads of this process neither come nor go
        try:
            present = self._ask_scheduler()
        except OSError as error:  # Dask tries to connect again, for a while
            silent = time.monotonic() - self._answered
            if self.client.status not in ("closed", "closing") and silent < GIVE_UP:
                return
            raise K49Error(
                f"the scheduler at {self.tune.scheduler} is gone; finished trials are kept, and "
                "`dvc repro` goes on"
            ) from error
        self._answered = time.monotonic()
        for address in set(self._threads) - set(present):
            yield from self._remove(address)
        yield from self._add(present)
        if not self._threads and not self._waiting:
            yield Message(
                f"waiting for workers: `dask worker {self.tune.scheduler} --nthreads 1` on any "
                "machine with this environment"
            )
        self._waiting = not self._threads

    def _ask_scheduler(self) -> dict[str, int]:
        """Return how many threads each worker has.

        Not by Dask's `client.nthreads`: where the scheduler dies before it answers, that waits for
        a coroutine that may never end, whatever limit it is given.

        Raises:
            OSError: there is no scheduler any more, or it didn't answer in time.
        """
        answer = asyncio.run_coroutine_threadsafe(
            self.client.scheduler.ncores(workers=None), self.client.loop.asyncio_loop
        )
        try:
            return answer.result(SCHEDULER_TIMEOUT)
        finally:
            answer.cancel()  # which doesn't wait for it

    def _remove(self, address: str) -> Iterator[Event]:
        del self._threads[address]
        for number, (_, trained_on) in list(self.running.items()):
            if trained_on == address:
                self.cancel(number)
                yield Lost(number, f"worker {self.names[address]} is gone")

    def _add(self, present: dict[str, int]) -> Iterator[Event]:
        """Take new workers with our versions, and refuse others; `present`: threads by address."""
        new = sorted(set(present) - set(self._threads) - self._refused)
        theirs = self.client.run(versions_and_code, workers=new, on_error="return") if new else {}
        for address in new:
            self.names[address] = name = self._name(address)
            if differ := differences(versions_and_code(), theirs.get(address)):
                self._refused.add(address)
                yield Message(f"worker {name} is refused, it has other versions: {differ}")
            else:
                self._threads[address] = present[address]

    def _name(self, address: str) -> str:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        name = workers.get(address, {"name": address})["name"]
        return str(name if self.cluster is None else name + 1)  # a local cluster counts from 0


def in_memory(dataset: Dataset) -> Dataset:
    """Copy a dataset into memory, so that its bytes are sent and not the names of its files."""
    return Dataset(np.array(dataset.images), np.array(dataset.labels))
