"""The search on a Dask cluster: real schedulers and workers, late, dying, of other versions."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from k49.files import read_json, read_yaml, write_yaml
from tests.helpers import ROOT, free_port, start_stage
from tests.search.small import TRIALS, prepare

pytestmark = pytest.mark.slow
DASK = str(Path(sys.executable).with_name("dask"))


class Cluster:
    """A scheduler and its workers, each a group of processes."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.address = f"tcp://127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", port)

    def add_worker(self, **environment):
        return self._start("worker", self.address, "--nthreads", "1", **environment)

    def _start(self, kind, *arguments, **environment):
        log = (self.folder / f"{kind}-{len(self.processes)}.log").open("w")
        path = os.pathsep.join([environment.pop("PYTHONPATH", ""), str(ROOT)])
        process = subprocess.Popen(
            [DASK, kind, *arguments, "--no-dashboard"],
            cwd=self.folder,
            env={**os.environ, **environment, "PYTHONPATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def close(self):
        for process in self.processes:
            kill(process)


def kill(process):
    """A machine that loses power: all of its processes at once."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture
def folder(tmp_path, train, val, cluster):
    """What stage tune reads, with the cluster's address."""
    folder = prepare(tmp_path / "project", train, val)
    params = read_yaml(folder / "params.yaml")
    params["tune"]["scheduler"] = cluster.address
    write_yaml(folder / "params.yaml", params)
    return folder


def assert_as_alone(folder, uninterrupted):
    """The same winner and trials as of a search on one machine."""
    assert read_yaml(folder / "models/hyperparameters.yaml") == uninterrupted.winner.model_dump()
    rows = read_json(folder / "plots/trials.json")
    assert rows == [{"dataset": "bars", **row} for row in uninterrupted.rows]


def read_until(stage, pattern):
    """The lines that a stage prints, up to the one that says so."""
    lines = []
    for line in stage.stdout:
        lines.append(line)
        if re.search(pattern, line):
            return "".join(lines)
    raise AssertionError(f"never said {pattern}: {lines}")


def test_worker_that_joins_late_finds_work_and_one_that_dies_loses_none(
    folder, cluster, uninterrupted
):
    with start_stage("tune", folder, stderr=subprocess.STDOUT) as stage:
        read_until(stage, "waiting for workers: `dask worker tcp://")
        first = cluster.add_worker()
        read_until(stage, f"trial 1/{TRIALS} .*network")
        kill(first)
        cluster.add_worker()
        said = read_until(stage, rf"trial 1/{TRIALS} .*network")
        rest = stage.stdout.read()
    assert stage.returncode == 0, rest
    assert re.search(rf"trial 1/{TRIALS}: worker tcp://\S+ is gone; it runs again", said)
    assert_as_alone(folder, uninterrupted)


def test_worker_with_other_versions_is_refused(folder, cluster, uninterrupted, tmp_path):
    old = tmp_path / "old/keras-2.15.0.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 2.15.0\n")
    cluster.add_worker(PYTHONPATH=str(old.parent))
    with start_stage("tune", folder, stderr=subprocess.STDOUT) as stage:
        said = read_until(stage, "is refused")
        cluster.add_worker()
        rest = stage.stdout.read()
    assert re.search(
        r"worker tcp://\S+ is refused, it has other versions: keras \S+ here, 2.15.0 there$",
        said.rstrip(),
    )
    assert stage.returncode == 0, rest
    assert_as_alone(folder, uninterrupted)


def test_ctrl_c_frees_the_workers_and_the_search_goes_on_later(folder, cluster, uninterrupted):
    cluster.add_worker()
    with start_stage("tune", folder, stderr=subprocess.STDOUT) as stage:
        read_until(stage, ": val_accuracy")
        read_until(stage, f"trial 2/{TRIALS}")
        begun = time.monotonic()
        stage.send_signal(signal.SIGINT)
        said = stage.stdout.read()
    assert time.monotonic() - begun < 2
    assert stage.returncode == 130
    assert "1 finished trials are kept in data/search/" in said
    assert "Traceback" not in said
    with start_stage("tune", folder, stderr=subprocess.STDOUT) as again:
        said = again.stdout.read()
    assert again.returncode == 0
    assert f"which has 1 of {TRIALS} trials" in said
    assert_as_alone(folder, uninterrupted)


def test_scheduler_that_is_not_there_is_said_in_one_line(folder, cluster):
    kill(cluster.scheduler)
    begun = time.monotonic()
    with start_stage("tune", folder, stderr=subprocess.STDOUT) as stage:
        said = stage.stdout.read()
    assert time.monotonic() - begun < 20
    assert stage.returncode == 1
    assert len(said.splitlines()) == 1
    assert f"tune.scheduler: no Dask scheduler answers at {cluster.address}" in said


def test_scheduler_that_dies_is_told_and_no_trial_is_lost(folder, cluster, uninterrupted):
    cluster.add_worker()
    with start_stage("tune", folder, stderr=subprocess.STDOUT) as stage:
        read_until(stage, ": val_accuracy")
        kill(cluster.scheduler)
        said = stage.stdout.read()
    assert stage.returncode == 1
    assert said.splitlines()[-1].startswith(f"error in tune: the scheduler at {cluster.address}")
    assert "Traceback" not in said
