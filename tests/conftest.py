"""One small run of the whole pipeline, for all tests of a session and all its processes."""

import os
import signal

import pytest
from filelock import FileLock

import k49.training  # noqa: F401 (chooses Keras' backend and quiets TensorFlow, whoever comes first)
from tests.helpers import Repo, reproduce

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores; models are tiny here
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")

# Where pytest is started in the background, Ctrl-C is ignored, by its children, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Of the slow files, first the longest, which makes `reproduced`; then those that need not wait.
ORDER = ("test_readme.py", "test_search.py", "test_fit.py", "test_repro.py", "test_experiments.py")


def pytest_collection_modifyitems(items):
    """Slow files first, so that two processes end at about the same time."""
    rank = {name: place for place, name in enumerate(ORDER)}
    items.sort(key=lambda item: rank.get(item.path.name, len(ORDER)))


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory, worker_id):
    """A `Repo` in which everything is reproduced and committed. Read it; `fresh` is to change."""
    base = tmp_path_factory.getbasetemp()
    if worker_id != "master":  # pytest-xdist gives each of its processes a folder in a common one
        base = base.parent
    repo = Repo(base / "pipeline" / "repo")
    with FileLock(base / "pipeline.lock"):
        if not (base / "pipeline" / "done").exists():
            reproduce(repo.path)
            (base / "pipeline" / "done").touch()
    return repo


@pytest.fixture
def fresh(reproduced, tmp_path):
    """A copy of `reproduced` that a test may change."""
    return reproduced.copy_to(tmp_path)
