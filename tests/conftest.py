"""One small run of the whole pipeline, for all tests of a session and all its processes."""

import pytest
from filelock import FileLock

import k49.training  # noqa: F401 (chooses Keras' backend and quiets TensorFlow, whoever comes first)
from tests.helpers import Repo, reproduce


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
