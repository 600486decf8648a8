"""A Dask cluster to train on: of this machine's processors, or one that is there already."""

import logging
import os
from typing import Any

import dask
from distributed import Client, Scheduler, SpecCluster, Worker
from psutil import virtual_memory

from k49.errors import K49Error
from k49.search.versions import versions_and_code
from k49.settings import Tune

QUIET = {"distributed.admin.large-graph-warning-threshold": "1TB"}
CONNECT = 5  # seconds in which a scheduler has to answer
MEMORY = 2**30  # bytes for a trial; one of the default recipe takes 640 MiB


def connect(tune: Tune) -> tuple[Client, SpecCluster | None]:
    """Connect to the cluster at `tune.scheduler`, or start workers as threads of this process.

    A worker here needs no more than a thread: trials train in processes of their own.

    Raises:
        K49Error: nobody answers there.
    """
    for name in ("distributed", "tornado", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is told by the search
    if tune.scheduler is None:
        cluster = in_this_process(workers(tune))
        return Client(cluster), cluster
    dask.config.set(QUIET)
    try:
        return Client(tune.scheduler, timeout=CONNECT), None
    except (OSError, ValueError, TypeError) as error:
        why = str(error).strip().splitlines()[0]
        raise K49Error(
            f"tune.scheduler: no Dask scheduler answers at {tune.scheduler} ({why:.120}); start "
            "one with `dask scheduler`, or leave it empty and the trials run here"
        ) from error


def in_this_process(n: int) -> SpecCluster:
    """Start a scheduler and `n` workers as threads, with no dashboard and no port but loopback's.

    (Dask starts an HTTP server for each of them whatever it is told; it serves nothing here.
    `LocalCluster` would let those of the workers listen to the whole network.)
    """
    dask.config.refresh(paths=[], env={})  # what a user has set for clusters is not for this one
    dask.config.set(QUIET)
    dask.config.set({f"distributed.{who}.http.routes": [] for who in ("scheduler", "worker")})
    options = {"protocol": "inproc://", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    worker = {"cls": Worker, "options": {**options, "nthreads": 1, "memory_limit": 0}}
    return SpecCluster(
        workers=dict.fromkeys(range(n), worker),
        scheduler={"cls": Scheduler, "options": {**options, "port": 0}},
    )


def workers(tune: Tune) -> int:
    """Return how many trials run at once on this machine: `tune.workers`, or one a processor.

    And memory, as far as it is free; on a GPU one, of whose memory TensorFlow takes all.
    """
    if tune.workers is not None:
        return tune.workers
    import tensorflow as tf  # here: only after k49.training has set it up

    if tf.config.list_physical_devices("GPU"):
        return 1
    return int(max(1, min(processors() // tune.threads, virtual_memory().available // MEMORY)))


def processors() -> int:
    """Return the number of processors that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)  # which macOS doesn't have
    return len(usable(0)) if usable else os.cpu_count() or 1


def check_versions(client: Client, address: str) -> None:
    """Raise K49Error if the scheduler has other versions: it unpickles what is sent through it."""
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
