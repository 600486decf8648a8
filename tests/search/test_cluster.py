"""The search on a Dask cluster: real schedulers and workers, late, dying, of other versions."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT, free_port, python_path, start_stage
from tests.search.small import TRIALS, assert_as_alone, prepare

pytestmark = pytest.mark.slow
DASK = str(Path(sys.executable).with_name("dask"))


class Cluster:
    """A scheduler and its workers, each a group of processes."""

    def __init__(self, folder, protocol="tcp"):
        self.folder, self.processes = folder, []
        self.port, self.protocol = str(free_port()), protocol
        self.address = f"{protocol}://127.0.0.1:{self.port}"
        self.start_scheduler()

    def start_scheduler(self):
        where = ["--host", "127.0.0.1", "--port", self.port, "--protocol", self.protocol]
        self.scheduler = self._start("scheduler", *where)

    def add_worker(self, **environment):
        return self._start("worker", self.address, "--nthreads", "1", **environment)

    def _start(self, kind, *arguments, **environment):
        log = (self.folder / f"{kind}-{len(self.processes)}.log").open("w")
        path = python_path(environment.pop("PYTHONPATH", ""), ROOT)
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
def encrypted(tmp_path, monkeypatch):
    """A cluster that speaks to nobody without its key, made and set as docs/search.md says."""
    section = (ROOT / "docs/search.md").read_text("utf-8").partition("### Certificates")[2]
    make, use = re.findall(r"^```(?:sh)?\n(.+?)^```", section, re.MULTILINE | re.DOTALL)[:2]
    script = f"set -e; cd {tmp_path}; {make} {use} env -0"
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    for line in done.stdout.split("\0"):
        if line.startswith("DASK_"):
            monkeypatch.setenv(*line.split("=", 1))
    cluster = Cluster(tmp_path, "tls")
    yield cluster
    cluster.close()


def folder_of(cluster, train, val):
    """What stage tune reads, with the cluster's address."""
    return prepare(cluster.folder / "project", train, val, cluster.address)


def read_until(stage, pattern):
    """The lines that a stage prints, up to the one that says so."""
    lines = []
    for line in stage.stdout:
        lines.append(line)
        if re.search(pattern, line):
            return "".join(lines)
    raise AssertionError(f"never said {pattern}: {lines}")


def search_in(folder):
    return start_stage("tune", folder, stderr=subprocess.STDOUT)


def test_workers_come_late_die_and_are_of_another_version(
    cluster, train, val, uninterrupted, tmp_path
):
    folder = folder_of(cluster, train, val)
    old = tmp_path / "old/keras-2.15.0.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 2.15.0\n")
    with search_in(folder) as stage:
        read_until(stage, "waiting for workers: `dask worker tcp://")
        cluster.add_worker(PYTHONPATH=str(old.parent))
        refused = read_until(stage, "is refused")
        first = cluster.add_worker()
        read_until(stage, f"trial 1/{TRIALS} .*network")
        kill(first)
        cluster.add_worker()
        lost = read_until(stage, rf"trial 1/{TRIALS} .*network")
        rest = stage.stdout.read()
    assert stage.returncode == 0, rest
    why = r"worker tcp://\S+ is refused, it has other versions: keras \S+ here, 2.15.0 there$"
    assert re.search(why, refused.rstrip())
    assert re.search(rf"trial 1/{TRIALS}: worker tcp://\S+ is gone; it runs again", lost)
    assert_as_alone(folder, uninterrupted)


def test_ctrl_c_and_a_scheduler_that_dies_lose_no_trial(encrypted, train, val):
    """With certificates, as docs/search.md has them."""
    folder = folder_of(encrypted, train, val)
    encrypted.add_worker()
    with search_in(folder) as stage:
        read_until(stage, ": val_accuracy")
        read_until(stage, f"trial 2/{TRIALS}")
        begun = time.monotonic()
        stage.send_signal(signal.SIGINT)
        stage.wait()
        taken = time.monotonic() - begun
        said = stage.stdout.read()
    assert taken < 2
    assert stage.returncode == 130
    assert "1 finished trials are kept in data/search" in said
    assert "Traceback" not in said

    with search_in(folder) as stage:
        said = read_until(stage, f"trial 2/{TRIALS}: val_accuracy")
        kill(encrypted.scheduler)
        rest = stage.stdout.read()
    assert f"1 of {TRIALS} trials were trained before" in said
    assert stage.returncode == 1
    last = rest.splitlines()[-1]
    assert last.startswith(f"error in tune: the scheduler at {encrypted.address} is gone; finished")
    assert "Traceback" not in rest

    assert len(list((folder / "data/search").glob("*.json"))) == 2


def test_scheduler_that_is_not_there_is_said_in_one_line(cluster, train, val):
    kill(cluster.scheduler)
    folder = folder_of(cluster, train, val)
    with search_in(folder) as stage:
        begun = time.monotonic()
        said = stage.stdout.read()
    assert time.monotonic() - begun < 20  # of which starting takes 5, and waiting 5
    assert stage.returncode == 1
    assert len(said.splitlines()) == 1
    assert f"tune.scheduler: no Dask scheduler answers at {cluster.address}" in said
