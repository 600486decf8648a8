"""Runs a function in a process of its own, which takes its memory with it when it ends.

TensorFlow keeps every program that XLA compiled, and the memory around it, for as long as the
process lives: 20 to 45 MB for each model that is trained.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection
from typing import Any, NoReturn, TypeVar

from k49 import progress
from k49.errors import K49Error, keep_place

# Characters: a socket's name has 107 at most, with pymp-xxxxxxxx/listener-xxxxxxxx
MOST_TMPDIR = 70
POLL_SECONDS = 0.2  # after which `wanted` is asked again

context = multiprocessing.get_context("forkserver")


def start_server(*modules: str) -> None:
    """Begin to import `modules` in the server that the processes are forked from; don't wait.

    Neither the server nor its forks hear Ctrl-C: it is for their caller, who ends them.

    Raises:
        K49Error: the folder for temporary files has too long a name for a socket in it.
    """
    if (length := len(tempfile.gettempdir())) > MOST_TMPDIR:
        raise K49Error(
            f"TMPDIR: {length} characters long, {MOST_TMPDIR} at most, as the names of sockets are "
            "short; set it to a shorter one"
        )
    if modules:
        context.set_forkserver_preload(list(modules))
    resource_tracker.ensure_running()  # the server needs it; starting it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # which is inherited
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave(status: int) -> NoReturn:
    """End this process at once: TensorFlow's exit takes a second, and Granian's may abort."""
    with suppress(OSError):
        sys.stdout.flush()
    sys.stderr.flush()
    util._run_finalizers()  # type: ignore[attr-defined]  # removes the server's socket
    os._exit(status)


@contextmanager
def deferred_signals(*signals: signal.Signals) -> Iterator[None]:
    """Defer signals that arrive while the block runs until its end.

    By handlers, not by a mask: that would hold for one of the process's threads only.
    """
    if threading.current_thread() is not threading.main_thread():  # which signals don't interrupt
        yield
        return
    received: list[int] = []
    before = {
        kind: signal.signal(kind, lambda number, _: received.append(number)) for kind in signals
    }
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
        for number in received:
            signal.raise_signal(number)


class KilledError(MemoryError):
    """A process was killed, or aborted: most likely memory ran out."""


class UnwantedError(Exception):
    """A process was ended because its answer was no longer wanted."""


def in_own_process(
    function: Callable[..., Any],
    *arguments: Any,
    on_report: Callable[[Any], None] | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> Any:
    """Call `function(*arguments)` in a new process; return its result, or raise its error.

    Args:
        function, arguments: what to call; they and the result are pickled.
        on_report: called here with each value that the function passes to `report`, a keyword
            argument that it gets then.
        wanted: asked here every POLL_SECONDS; the process is ended when it says no.

    Raises:
        KilledError: the process ended before it could answer.
        UnwantedError: `wanted` said no.
    """
    start_server()
    receiver, sender = context.Pipe(duplex=False)
    task = (sender, function, arguments, on_report is not None)
    process = context.Process(target=_run_and_send, args=task)
    try:
        # half a message would end in a traceback
        with deferred_signals(signal.SIGINT, signal.SIGTERM):
            try:
                process.start()
            except (EOFError, ConnectionError) as ended:
                time.sleep(POLL_SECONDS)  # until its socket is gone, too
                raise KilledError("the server that forks processes ended") from ended
        sender.close()  # this process's copy, so that the end of the other one is noticed
        result, error, peak = _wait_for_answer(receiver, on_report, wanted)
    except EOFError as ended:
        process.join()
        raise KilledError(f"the process ended with exit status {process.exitcode}") from ended
    finally:
        if process.pid is not None:
            process.terminate()
            process.join()
        receiver.close()
    progress.peaks.append(peak)
    if error is not None:
        raise error
    return result


def _wait_for_answer(
    receiver: Connection, on_report: Callable[[Any], None] | None, wanted: Callable[[], bool]
) -> tuple[Any, Exception | None, float]:
    """Pass reports on until the answer comes: result, error, peak memory; EOFError without one."""
    while True:
        while not receiver.poll(POLL_SECONDS):
            if not wanted():
                raise UnwantedError
        kind, message = receiver.recv()
        if kind == "answer":
            return message
        if on_report is not None:
            on_report(message)


def _run_and_send(
    sender: Connection, function: Callable[..., Any], arguments: tuple, reports: bool
) -> None:
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    result, error = None, None
    try:
        with suppress(BrokenPipeError):  # the caller is gone
            keywords = {"report": lambda value: sender.send(("report", value))} if reports else {}
            result = function(*arguments, **keywords)
    except Exception as raised:  # the caller gets any error
        keep_place(raised)  # a traceback isn't sent
        error = raised
    peak = progress.peak_memory()
    with suppress(BrokenPipeError):
        try:
            sender.send(("answer", (result, error, peak)))
        except (pickle.PicklingError, TypeError, AttributeError):  # as of some errors of TensorFlow
            readable = RuntimeError(f"{type(error).__name__}: {error}")
            sender.send(("answer", (None, readable, peak)))


def _exit_with_parent() -> None:
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os._exit(1)  # the caller is gone


Argument = TypeVar("Argument")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Argument], Result], arguments: Iterable[Argument]
) -> Iterator[Result]:
    """Yield results in the order of the arguments, computed by a thread for each core.

    No more than a few results wait to be taken.
    """
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future] = deque()
        try:
            for argument in arguments:
                waiting.append(pool.submit(function, argument))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()
