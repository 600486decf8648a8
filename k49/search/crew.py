"""Who trains the trials: Dask, with workers on this machine or those of a cluster.

The search decides which worker takes which trial, and gives each as many as it has threads, so that
a worker that joins late finds work, one that is lost is noticed, and one with other versions gets
none.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import dask
import numpy as np
from distributed import Client, Future, LocalCluster

from k49.data import Dataset
from k49.errors import K49Error
from k49.process import KilledError
from k49.search.trials import Result
from k49.search.versions import versions_and_code
from k49.search.work import Job, work
from k49.settings import TrainingConfig, Tune

LOOK_AGAIN = 1.0  # seconds after which workers are counted again
WAIT = 0.25  # seconds for an event
CONNECT = 10  # seconds in which a scheduler has to answer


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
    why: str


@dataclass(frozen=True)
class Said:
    """Something that the user should hear of."""

    line: str


Event = Epoch | Done | Lost | Said


class Crew:
    """Workers, and which trial each is at. A context manager: what runs at its end is dropped."""

    def __init__(self, tune: Tune, train: Dataset, val: Dataset) -> None:
        """Find or start the workers.

        Raises:
            K49Error: nobody answers at `tune.scheduler`, or with other versions.
        """
        self.tune = tune
        self.events: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self.topic = f"k49-{uuid4().hex}"
        self.running: dict[int, tuple[Future, str]] = {}  # by trial: and on which worker
        self.numbers: dict[str, int] = {}  # of the trials, by the keys of their attempts
        self.threads: dict[str, int] = {}  # of each worker that may be used, by address
        self.names: dict[str, str] = {}  # of all that were ever seen
        self.refused: set[str] = set()
        self.waiting = False  # for workers
        self.counted = 0.0  # when workers were counted
        self.client, self.cluster = connect(tune)
        self.client.subscribe_topic(self.topic, lambda event: self.events.put(("epoch", event[1])))
        if tune.scheduler is None:
            self.data = self.client.submit(tuple, [train, val])
        else:  # over the wire, once to each worker, from whichever has it; and again if it is lost
            check_versions(self.client, tune.scheduler)
            self.data = self.client.submit(tuple, [in_memory(train), in_memory(val)])

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self.running):
            self.drop(number)
        self.client.close(timeout=1)
        if self.cluster is not None:
            self.cluster.close(timeout=1)

    @property
    def size(self) -> int:
        """How many trials can run at once."""
        return sum(self.threads.values())

    def free(self) -> str | None:
        """A worker that could take a trial; None if all are busy."""
        busy = [address for _, address in self.running.values()]
        spare = {each: threads - busy.count(each) for each, threads in self.threads.items()}
        address = max(spare, key=spare.__getitem__, default=None)
        return address if address is not None and spare[address] > 0 else None

    def start(self, number: int, config: TrainingConfig, address: str) -> None:
        """Train a trial on a worker."""
        future = self.client.submit(
            work,
            Job(config, self.tune.threads, self.topic),
            self.data,
            key=f"{self.topic}-{number}-{uuid4().hex}",
            workers=[address],
            pure=False,
        )
        self.running[number] = future, address
        self.numbers[future.key] = number
        future.add_done_callback(lambda done: self.events.put(("done", done)))

    def drop(self, number: int) -> None:
        """End a trial; nothing more is heard of it."""
        self._forget(number).cancel()

    def _forget(self, number: int) -> Future:
        future, _ = self.running.pop(number)
        del self.numbers[future.key]
        return future

    def hear(self) -> Iterator[Event]:
        """What has happened since; waits for a moment if nothing has."""
        if time.monotonic() - self.counted > LOOK_AGAIN:
            yield from self._count()
            self.counted = time.monotonic()
        with suppress(Empty):
            heard = self.events.get(timeout=WAIT)
            while True:
                yield from self._understood(*heard)
                heard = self.events.get_nowait()

    def _understood(self, kind: str, what: Any) -> Iterator[Event]:
        """An event, if it is of an attempt that still counts."""
        number = self.numbers.get(what["key"] if kind == "epoch" else what.key)
        if number in self.running and kind == "epoch":
            yield Epoch(number, what["val_accuracy"])
        elif number in self.running:
            yield from self._ended(number, what)

    def _ended(self, number: int, future: Future) -> Iterator[Event]:
        if future.status == "finished":
            self._forget(number)
            yield Done(number, future.result())
            return
        error = future.exception() if future.status == "error" else None
        self.drop(number)
        if isinstance(error, KilledError) or type(error).__name__ == "KilledWorker":
            yield Lost(number, "its process was killed")
        elif error is None:
            yield Lost(number, "the scheduler was out of reach")
        else:
            raise error

    def _count(self) -> Iterator[Event]:
        """Who is there: newcomers are looked at, and the trials of those who left are lost."""
        if self.cluster is not None and self.threads:
            return
        try:
            present = self.client.nthreads()
        except OSError as error:  # Dask tries to connect again, for a while
            if self.client.status not in ("closed", "closing"):
                return
            raise K49Error(
                f"the scheduler at {self.tune.scheduler} is gone; finished trials are kept, and "
                "`dvc repro` goes on"
            ) from error
        for address in set(self.threads) - set(present):
            del self.threads[address]
            for number, (_, where) in list(self.running.items()):
                if where == address:
                    self.drop(number)
                    yield Lost(number, f"worker {self.names[address]} is gone")
        new = sorted(set(present) - set(self.threads) - self.refused)
        theirs = self._versions(new)
        for address, about in self.client.scheduler_info(n_workers=-1)["workers"].items():
            local = self.cluster is not None  # where Dask counts from 0
            self.names[address] = str(about["name"] + 1 if local else about["name"])
        for address in new:
            if differ := self._differences(theirs.get(address)):
                self.refused.add(address)
                name = self.names[address]
                yield Said(f"worker {name} is refused, it has other versions: {differ}")
            else:
                self.threads[address] = present[address]
        if not self.threads and not self.waiting:
            yield Said(
                f"waiting for workers: `dask worker {self.tune.scheduler} --nthreads 1` on any "
                "machine with this environment"
            )
        self.waiting = not self.threads

    def _differences(self, theirs: Any) -> str:
        return "" if self.cluster is not None else differences(versions_and_code(), theirs)

    def _versions(self, addresses: list[str]) -> dict[str, Any]:
        if self.cluster is not None or not addresses:
            return {}
        return self.client.run(versions_and_code, workers=addresses, on_error="return")


def connect(tune: Tune) -> tuple[Client, LocalCluster | None]:
    """To the cluster at `tune.scheduler`, or to workers that are threads of this process.

    A worker here needs no more than a thread: trials train in processes of their own.

    Raises:
        K49Error: nobody answers there.
    """
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is told by the search
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})
    if tune.scheduler is None:
        cluster = LocalCluster(
            n_workers=workers(tune),
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        )
        return Client(cluster), cluster
    try:
        return Client(tune.scheduler, timeout=CONNECT), None
    except (OSError, ValueError, TypeError) as error:
        why = str(error).strip().splitlines()[0]
        raise K49Error(
            f"tune.scheduler: no Dask scheduler answers at {tune.scheduler} ({why:.120}); start "
            "one with `dask scheduler`, or leave it empty and the trials run here"
        ) from error


def workers(tune: Tune) -> int:
    """How many trials run at once on this machine: as asked for, or as many as have processors."""
    if tune.workers is not None:
        return tune.workers
    return max(1, processors() // tune.threads)


def processors() -> int:
    """That this process may use."""
    usable = getattr(os, "sched_getaffinity", None)  # which macOS doesn't have
    return len(usable(0)) if usable else os.cpu_count() or 1


def in_memory(dataset: Dataset) -> Dataset:
    """A copy that isn't mapped, so that its bytes are sent and not the names of its files."""
    return Dataset(np.array(dataset.images), np.array(dataset.labels))


def check_versions(client: Client, address: str) -> None:
    """K49Error if the scheduler's environment is another one: it unpacks what goes through it."""
    try:
        theirs = client.run_on_scheduler(versions_and_code)
    except Exception as error:  # as of a module that isn't there
        theirs = error
    if differ := differences(versions_and_code(), theirs):
        raise K49Error(f"tune.scheduler: {address} has other versions: {differ}")


def differences(ours: dict[str, str], theirs: Any) -> str:
    """`keras 3.15.1 here, 3.14.0 there`, empty if there are none."""
    if not isinstance(theirs, dict):
        return f"k49 can't be used there ({' '.join(str(theirs).split()):.120})"
    return "; ".join(
        f"{name} {version} here, {theirs.get(name, 'none')} there"
        for name, version in ours.items()
        if theirs.get(name) != version
    )
