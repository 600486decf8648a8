"""Who trains the trials: Dask, with workers on this machine or those of a cluster.

The search decides which worker takes which trial, and gives each as many as it has threads, so that
a worker that joins late finds work, one that is lost is noticed, and one with other versions gets
none.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import numpy as np
from distributed import CancelledError, Future, KilledWorker
from distributed.comm import CommClosedError

from k49.data import Dataset
from k49.errors import K49Error
from k49.process import KilledError
from k49.search.cluster import check_versions, connect, differences
from k49.search.trials import Result
from k49.search.versions import versions_and_code
from k49.search.work import Job, work
from k49.settings import TrainingConfig, Tune

LOOK_AGAIN = 1.0  # seconds after which workers are counted again
WAIT = 0.25  # seconds for an event
ANSWER = 10  # seconds in which a scheduler has to say which workers there are
FETCH = 30  # seconds in which a result has to come from a worker


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
        for each in (self.client, self.cluster):
            with suppress(TimeoutError):  # what doesn't end in time ends with this process
                if each is not None:
                    each.close(timeout=1)

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
        if number is None:
            return
        if kind == "epoch":
            yield Epoch(number, what["val_accuracy"])
        else:
            yield from self._ended(number, what)

    def _ended(self, number: int, future: Future) -> Iterator[Event]:
        try:
            result = future.result(timeout=FETCH)
        except (KilledError, KilledWorker):
            yield Lost(number, "its process was killed")
        except (CancelledError, TimeoutError, CommClosedError):
            yield Lost(number, "it was out of reach")
        else:
            yield Done(number, result)
        self._forget(number).release()

    def _count(self) -> Iterator[Event]:
        """Who is there: newcomers are looked at, and the trials of those who left are lost."""
        if self.cluster is not None and self.threads:
            return
        try:
            # without a limit it waits for ever, if the scheduler dies before it answers
            present = self.client.nthreads(callback_timeout=ANSWER)
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
        theirs = self.client.run(versions_and_code, workers=new, on_error="return") if new else {}
        for address in new:
            self.names[address] = self._name(address)
            if differ := differences(versions_and_code(), theirs.get(address)):
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

    def _name(self, address: str) -> str:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        name = workers.get(address, {"name": address})["name"]
        return str(name if self.cluster is None else name + 1)  # its own Dask counts from 0


def in_memory(dataset: Dataset) -> Dataset:
    """A copy that isn't mapped, so that its bytes are sent and not the names of its files."""
    return Dataset(np.array(dataset.images), np.array(dataset.labels))
