"""Data, model and predictions over a remote: pushed from one clone, pulled into another."""

import shutil

import pytest

from tests.helpers import Repo, stages_run

pytestmark = pytest.mark.slow


def test_clone_pulls_what_was_pushed_and_runs_nothing(fresh, tmp_path):
    """Of a remote in a folder; other kinds are DVC's own."""
    (tmp_path / "store").mkdir()
    fresh.dvc("remote", "add", "--default", "store", tmp_path / "store")
    fresh.dvc("push")
    fresh.commit("a remote")

    fresh.git("clone", "--quiet", fresh.path, tmp_path / "clone")
    clone = Repo(tmp_path / "clone")
    clone.dvc("pull")
    assert not stages_run(clone.dvc("repro").stdout)
    assert not clone.git("status", "--porcelain").stdout
    before, after = fresh.contents(), clone.contents()
    assert before.keys() == after.keys()
    assert not [name for name in before if before[name] != after[name]]

    # the model alone, by its name, from the repository's address: no cache, no clone
    fresh.git("tag", "--annotate", "--message", "The first", "k49@v1.0.0")
    shutil.rmtree(fresh.path / ".dvc/cache")
    reader = Repo(tmp_path)
    reader.dvc("artifacts", "get", fresh.path, "k49", "--out", "given.keras")
    assert (tmp_path / "given.keras").read_bytes() == before["models/model.keras"]
