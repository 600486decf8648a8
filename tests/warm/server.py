"""The server behind `client.py`: imports what commands need, then forks for each that is asked for.

`python server.py ADDRESS`; it ends with the process that started it.
"""

import atexit
import fcntl
import gc
import importlib
import marshal
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing import spawn, util
from pathlib import Path
from typing import NoReturn

REAL = Path(sys.executable).parent  # where the commands themselves are
OURS = ("k49", "stages", "tests", "benchmarks")  # imported by each fork anew: it may have its own
LOWEST = 500  # above the numbers of a client's files
# All that takes long to import; the modules of DVC are those that its commands import when called
MODULES = """
k49.training.fit k49.training.model k49.search.search k49.data.fetch
k49.data.standin k49.evaluation.metrics k49.plots.trials k49.comparison.text
k49.plots.report k49.revisions k49.cli keras.src.saving.saving_lib
k49.calibration.calibrate k49.export.onnx_file k49.export.page sklearn.linear_model onnxruntime
matplotlib.backends.backend_agg PIL.PngImagePlugin
dvc.cli.parser dvc.repo.index dvc.repo.reproduce dvc.repo.artifacts dvc.repo.datasets dvc.data_cloud
dvc.cachemgr dvc.analytics dvc.utils.hydra dvc.compare dvc.render.match dvc_render.html
dvc.repo.experiments.run dvc.repo.experiments.queue.workspace dvc.repo.experiments.queue.celery
dvc_task.worker dvc_task.proc.manager celery.worker.worker celery.app.amqp dvc_data.index.checkout
dulwich.porcelain scmrepo.git.backend.pygit2.filter hydra.main networkx platformdirs.unix tabulate
fsspec.implementations.memory
"""


def serve(address: str) -> None:
    """Answer until the process that started the server is gone."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(f"{address}.new")
    except FileNotFoundError:  # the session is over already
        return
    listening.listen(64)
    Path(f"{address}.new").rename(address)
    with selectors.DefaultSelector() as events:
        events.register(listening, selectors.EVENT_READ, None)
        parent = os.pidfd_open(os.getppid())
        events.register(parent, selectors.EVENT_READ, None)
        while True:
            for key, _ in events.select():
                if key.fileobj == parent:
                    os._exit(0)
                elif key.fileobj is listening:
                    begin(listening.accept()[0], events)
                elif isinstance(key.fileobj, socket.socket):
                    pass_signals_on(key.fileobj, key.data)
                else:
                    end(key.fileobj, *key.data, events)


def begin(client: socket.socket, events: selectors.BaseSelector) -> None:
    """Fork for a client."""
    head, files, _, _ = socket.recv_fds(client, 4, 64)
    content = client.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    pid = os.fork()
    if not pid:
        run(files, **marshal.loads(content))
    for each in files:
        os.close(each)
    process = os.pidfd_open(pid)
    events.register(client, selectors.EVENT_READ, process)
    events.register(process, selectors.EVENT_READ, (pid, client))


def pass_signals_on(client: socket.socket, process: int) -> None:
    """Send a fork what its client got, or kill it if the client is gone."""
    if client.fileno() < 0:
        return  # closed by `end`: both ended at the same moment
    with suppress(ProcessLookupError):  # it has ended, which is told next
        for number in client.recv(16) or bytes([signal.SIGKILL]):
            signal.pidfd_send_signal(process, number)


def end(process: int, pid: int, client: socket.socket, events: selectors.BaseSelector) -> None:
    """Tell a client how its fork ended."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for each in (process, client):
        events.unregister(each)
    os.close(process)
    with suppress(OSError):  # the client is gone
        client.sendall(bytes([status if status >= 0 else 128 - status]))
    client.close()


def run(
    files: list[int],
    command: list[str],
    cwd: str,
    env: dict[str, str],
    numbers: list[int],
    blocked: list[int],
) -> NoReturn:
    """Be the command, with a client's files (open here, and their numbers there) and the like."""
    kept = [fcntl.fcntl(each, fcntl.F_DUPFD, LOWEST) for each in files]
    os.closerange(3, LOWEST)
    for each, number in zip(kept, numbers, strict=True):
        os.dup2(each, number, inheritable=True)
        os.close(each)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    # not closed with these objects: DVC replaces them by the server's, which have the same numbers
    options = {"encoding": "utf-8", "closefd": False}
    sys.stdin = open(0, **options)
    sys.stdout, sys.stderr = (open(n, "w", buffering=1, **options) for n in (1, 2))
    if "K49_WARM" in env:
        # for what it starts itself: multiprocessing's servers, DVC's worker of its queue
        sys.executable = os.path.join(env["K49_WARM"], "python")
        spawn.set_executable(sys.executable)
    os._exit(status_of(command))


def status_of(command: list[str]) -> int:
    """Run a command as Python would, and return its exit status."""
    name, *arguments = command
    status: object = 0
    try:
        paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        if name == "python":
            sys.path[:0] = [os.getcwd(), *paths]
            sys.argv = arguments[1:]
            if arguments[0] == "-m":
                runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
            else:
                exec(arguments[1], {"__name__": "__main__"})
        else:
            sys.path[:0] = [str(REAL), *paths]
            sys.argv = [str(REAL / name), *arguments]
            status = importlib.import_module(f"{name}.cli").main()
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    return status if isinstance(status, int) else int(status is not None)


if __name__ == "__main__":
    root = str(Path(__file__).parents[2])
    sys.path[:] = [root, *(path for path in sys.path if path != str(Path(__file__).parent))]
    for module in MODULES.split():
        importlib.import_module(module)
    from dvc_task.worker import TemporaryWorker

    for module in [each for each in sys.modules if each.partition(".")[0] in OURS]:
        del sys.modules[module]
    sys.path.remove(root)
    # DVC's worker looks after so many seconds whether its queue is empty: 10 of DVC's own
    TemporaryWorker.timeout = property(lambda _: 3, lambda *_: None)
    # What the libraries do at the end takes a fork 9 ms, and is in vain but for multiprocessing's
    atexit._clear()
    atexit.register(util._exit_function)
    gc.freeze()  # what is there already is not looked through again by each fork
    serve(sys.argv[1])
