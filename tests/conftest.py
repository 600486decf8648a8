"""One small run of the whole pipeline, for all tests of a session and all its processes."""

import gc
import os
import re
import shutil
import signal
import tempfile
from functools import partial
from multiprocessing import spawn
from pathlib import Path

import pytest
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

from tests import warm
from tests.helpers import Repo, python_path, reproduce

# Where pytest is started in the background, Ctrl-C is ignored, by its children, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What XLA has compiled once in a session it loads the next time, in half the time
XLA_CACHE = "--tf_xla_persistent_cache_directory={} --tf_xla_persistent_cache_read_only=false"
# What takes longest, first, so that all processes end at about the same time.
ORDER = ("search", "test_docs.py", "pipeline/test_compare.py", "test_experiments.py", "pipeline")
# Files whose tests share what took long to make: one process has them all.
TOGETHER = {
    "inference/test_characters.py": "characters",
    "pipeline/test_compare.py": "compare",
    "pipeline/test_experiments.py": "experiments",
    "search/test_cluster.py": "search",
    "search/test_interrupted.py": "search",
}


class Groups(LoadScopeScheduling):
    """Hands out the tests of TOGETHER's groups as one, all others one by one.

    (--dist=loadgroup of pytest-xdist 3.8 puts groups into names that pytest 9 doesn't show it.)
    """

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0].removeprefix("tests/")
        return TOGETHER.get(file, nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_xdist_auto_num_workers():
    """Take one process more than there are processors: tests wait for queues and servers."""
    return (yield) + 1


def pytest_xdist_make_scheduler(config, log):
    """With several processes, ours."""
    return Groups(config, log)


def pytest_collection_modifyitems(items):
    """Slow tests first."""

    def place(item):
        path = item.path.as_posix()
        rank = next((i for i, name in enumerate(ORDER) if name in path), len(ORDER))
        return item.get_closest_marker("slow") is None, rank

    items.sort(key=place)


def pytest_collection_finish():
    """Leave TensorFlow and the collected tests out of each later garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_configure(config):
    """Commands that start at once: once a session, for all of its processes."""
    if not hasattr(config, "workerinput"):
        folder = Path(tempfile.mkdtemp(prefix="k49-tests-"))
        config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))
        os.environ["K49_WARM"] = str(folder / "bin")
        if config.getoption("numprocesses", None):  # of ours, which share the cores
            os.environ.update(warm.ONE_THREAD)
        os.environ["PYTHONPATH"] = python_path(warm.SITE)
        os.environ["TF_XLA_FLAGS"] = XLA_CACHE.format(folder / "xla")  # read with TensorFlow
        warm.start(folder / "bin")
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        import k49.training  # noqa: F401  (where tests run: sets Keras and TensorFlow up, first of all)
    spawn.set_executable(str(Path(os.environ["K49_WARM"], "python")))  # for processes of trials


def pytest_terminal_summary(terminalreporter):
    """Say at the end which tests were skipped for want of a program, and how to get it."""
    skipped = [str(report.longrepr) for report in terminalreporter.getreports("skipped")]
    lacking = [text for text in skipped if "apt-get install" in text]
    packages = sorted({re.search(r"apt-get install ([\w-]+)", text)[1] for text in lacking})
    if lacking:
        line = f"{len(lacking)} tests were skipped; for them: apt-get install {' '.join(packages)}"
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, worker_id):
    """A function that makes a `Repo` of a name with another one, once for all processes."""
    base = tmp_path_factory.getbasetemp()
    if worker_id != "master":  # pytest-xdist gives each of its processes a folder in a common one
        base = base.parent

    def function(name, make):
        folder = base / name
        with FileLock(base / f"{name}.lock"):
            if not (folder / "done").exists():
                make(folder)
                (folder / "done").touch()
        return Repo(folder / "repo")

    return function


@pytest.fixture(scope="session")
def reproduced(made_once):
    """A `Repo` in which everything is reproduced and committed. Read it; `fresh` is to change."""
    return made_once("pipeline", lambda folder: reproduce(folder / "repo"))


@pytest.fixture(scope="session")
def compared(made_once, reproduced):
    """The same with experiments: longer training with two seeds, `seeds-1` and `seeds-2`.

    Both ran at once, out of DVC's queue.
    """

    def make(folder):
        repo = reproduced.copy_to(folder)
        changes = ("-S", "train.epochs=6", "-S", "train.seed=range(1,3)")
        repo.dvc("exp", "run", "--queue", "--name", "seeds", *changes)
        repo.dvc("queue", "start", "--jobs", "2")
        repo.wait_for_queue()

    return made_once("compared", make)


@pytest.fixture
def fresh(reproduced, tmp_path):
    """A copy of `reproduced` that a test may change."""
    return reproduced.copy_to(tmp_path)
