"""Runs a function in a process of its own: what it leaves behind in memory goes with it.

TensorFlow keeps every program that XLA compiled, and the memory around it, for as long as the
process lives: 20 to 45 MB for each model that is trained.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from k49 import usage

context = multiprocessing.get_context("forkserver")


def start_server(*modules: str) -> None:
    """Begin to import `modules` in the server that the processes are forks of, and don't wait.

    Neither the server nor its forks hear Ctrl-C: it is for their caller, who ends them.
    """
    if modules:
        context.set_forkserver_preload(list(modules))
    resource_tracker.ensure_running()  # which the server needs, and whose start would end the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # which is inherited
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def held_back(*signals: signal.Signals) -> Iterator[None]:
    """Let signals that come while the block runs come after it.

    By handlers, not by a mask: that would hold for one of the process's threads only.
    """
    if threading.current_thread() is not threading.main_thread():  # which signals don't interrupt
        yield
        return
    came: list[int] = []
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in came:
            signal.raise_signal(number)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function(*arguments)` returns, or raises, in a new process; all of it is pickled.

    Raises:
        MemoryError: the process was killed from outside, which is how memory runs out on Linux.
        RuntimeError: it ended in another way before it could answer.
    """
    start_server()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, arguments), daemon=True)
    try:
        with held_back(signal.SIGINT, signal.SIGTERM):  # half a message would end in a traceback
            process.start()
        sender.close()  # this process's copy, so that the end of the other one is noticed
        result, error, seconds, peak = receiver.recv()
    except EOFError as ended:
        process.join()
        if process.exitcode == -signal.SIGKILL:
            raise MemoryError("the process was killed") from ended
        raise RuntimeError(f"the process ended with exit status {process.exitcode}") from ended
    finally:
        if process.pid is not None:
            process.terminate()
            process.join()
        receiver.close()
    for work, spent in seconds.items():
        usage.seconds[work] += spent
    usage.peaks.append(peak)
    if error is not None:
        raise error
    return result


def _answer(sender: Connection, function: Callable[..., Any], arguments: tuple) -> None:
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    result, error = None, None
    try:
        result = function(*arguments)
    except Exception as raised:  # whatever it is, the caller gets to see it
        error = raised
    used = dict(usage.seconds), usage.peak_memory()
    with suppress(BrokenPipeError):  # the caller is gone
        try:
            sender.send((result, error, *used))
        except (pickle.PicklingError, TypeError, AttributeError):  # as of some errors of TensorFlow
            sender.send((None, RuntimeError(f"{type(error).__name__}: {error}"), *used))


def _end_with_the_caller() -> None:
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os._exit(1)  # nobody is left to answer to
