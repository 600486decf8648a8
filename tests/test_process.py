"""A function in a process of its own: its result, its errors, its end."""

import os
import signal
import subprocess
import sys
import threading
import time
from mmap import mmap
from pathlib import Path

import numpy as np
import pytest

from k49 import progress
from k49.data import Dataset
from k49.errors import K49Error
from k49.process import UnwantedError, in_own_process
from tests.helpers import ROOT, bars


def doubled(number):
    return os.getpid(), 2 * number


def test_result_comes_from_another_process():
    process, result = in_own_process(doubled, 4)
    assert result == 8
    assert process != os.getpid()


def fails(error):
    raise error


@pytest.mark.parametrize("error", [K49Error("one line"), MemoryError("none left"), KeyError("a")])
def test_error_is_raised_here(error):
    with pytest.raises(type(error)) as caught:
        in_own_process(fails, error)
    assert caught.value.args == error.args


def fails_with_a_lock():
    raise ValueError("told", threading.Lock())


def test_error_that_cannot_be_sent_is_told():
    with pytest.raises(RuntimeError, match=r"ValueError: .*told"):
        in_own_process(fails_with_a_lock)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_process_that_is_killed_has_run_out_of_memory():
    with pytest.raises(MemoryError, match="exit status -9"):
        in_own_process(killed)


def test_process_that_ends_without_an_answer_has_so_too():
    """As what TensorFlow's own abort ends."""
    with pytest.raises(MemoryError, match="exit status 3"):
        in_own_process(os._exit, 3)


SERVER_ENDS = """
import os
from multiprocessing import forkserver
from k49.process import KilledError, in_own_process, start_server
def killed_first(file):
    os.kill(forkserver._forkserver._forkserver_pid, 9)
    forkserver.read_signed = read_signed
    return read_signed(file)
if __name__ == "__main__":
    start_server("imported_for_ever")
    read_signed, forkserver.read_signed = forkserver.read_signed, killed_first
    try:
        in_own_process(abs, -4)
    except KilledError as error:
        print(error)
    forkserver._forkserver._preload_modules = []
    print(in_own_process(abs, -4))
"""


def test_process_whose_server_is_killed_before_it_forks(tmp_path):
    """Was: `can only join a started process`, and the search ended; now the trial runs again."""
    (tmp_path / "caller.py").write_text(SERVER_ENDS)
    (tmp_path / "imported_for_ever.py").write_text("import time\ntime.sleep(60)")
    told = subprocess.run(
        [sys.executable, tmp_path / "caller.py"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
    )
    assert told.stdout == "the server that forks processes ended\n4\n", told.stderr


CALLER = """
import sys
from k49.process import in_own_process
from tests.test_process import says_who_it_is_and_sleeps
if __name__ == "__main__":
    in_own_process(says_who_it_is_and_sleeps, sys.argv[1])
"""


def says_who_it_is_and_sleeps(path):
    Path(path).write_text(f"{os.getpid()}\n")
    time.sleep(60)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_process_ends_with_its_caller(tmp_path):
    """Else a search that was killed would go on training next to the one that takes its place."""
    (tmp_path / "caller.py").write_text(CALLER)
    told = tmp_path / "pid"
    command = [sys.executable, tmp_path / "caller.py", told]
    caller = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_until(lambda: told.exists() and told.read_text().endswith("\n"))
    process = Path("/proc", told.read_text().strip())
    assert process.exists()
    caller.kill()
    caller.wait()
    wait_until(lambda: not process.exists())


def wait_until(there):
    for _ in range(300):
        if there():
            return
        time.sleep(0.1)
    raise AssertionError


def works():
    return len(bytearray(300 * 2**20))


def test_memory_is_counted_here(monkeypatch):
    monkeypatch.setattr(progress, "peaks", [0.0])
    in_own_process(works)
    assert progress.peaks[-1] > 300


def test_memory_of_the_process_that_starts_it_is_not_counted():
    """Was: a stage never peaked below DVC, nor a way to train below the benchmark that runs it."""
    works()
    code = "from k49.progress import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert 10 < float(done.stdout) < 200


def reports(report):
    for number in range(3):
        report(number)
    return "done"


def test_reports_come_while_it_runs():
    heard = []
    assert in_own_process(reports, on_report=heard.append) == "done"
    assert heard == [0, 1, 2]


def test_process_that_is_no_longer_wanted_is_ended(tmp_path):
    told = tmp_path / "pid"
    with pytest.raises(UnwantedError):
        in_own_process(says_who_it_is_and_sleeps, told, wanted=lambda: not told.exists())
    assert not Path("/proc", told.read_text().strip()).exists()


def where_it_lies(dataset):
    return (
        isinstance(dataset.images.base, mmap),
        int(dataset.images.sum()),
        int(dataset.labels.argmax(1).sum()),
    )


def test_mapped_dataset_is_not_copied_but_mapped_again(tmp_path):
    dataset = bars(1, seed=0)
    np.save(tmp_path / "images.npy", dataset.images)
    mapped = Dataset(np.load(tmp_path / "images.npy", mmap_mode="r"), dataset.labels)
    assert in_own_process(where_it_lies, mapped) == (True, *where_it_lies(dataset)[1:])
    part = Dataset(mapped.images[10:], mapped.labels[10:])
    assert in_own_process(where_it_lies, part) == (False, *where_it_lies(part)[1:])


def test_a_new_server_and_its_forks_do_not_hear_ctrl_c():
    """Was: Python unblocked it on the way, and Ctrl-C while the server imported was a traceback."""
    code = (
        "import signal; from k49 import process; process.start_server('json'); "
        "print(process.in_own_process(signal.pthread_sigmask, signal.SIG_BLOCK, []))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "SIGINT" in done.stdout, done.stderr
