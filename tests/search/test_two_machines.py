"""Two machines that share nothing but a wire: network namespaces, each with its own addresses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.search.small import assert_as_alone, prepare

DASK = str(Path(sys.executable).with_name("dask"))
SECONDS = float(os.environ.get("K49_CUT", "6"))  # without the wire; 30 were tried, too
ADDRESS = "tcp://10.49.0.1:8786"
# with what docs/search.md says of wires that may fail
PATIENT = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "120s"}


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def can_make_machines():
    probe = f"k49-probe-{os.getpid()}"
    try:
        ip("netns", "add", probe)
        ip("netns", "del", probe)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_make_machines(), reason="may not make network namespaces"),
]


class Machines:
    """`a` and `b`, with a wire between them that can be cut."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        for name in "ab":
            ip("netns", "add", f"k49-{name}")
            ip("-n", f"k49-{name}", "link", "set", "lo", "up")
        ip(
            "link",
            "add",
            "k49-a",
            "netns",
            "k49-a",
            "type",
            "veth",
            "peer",
            "k49-b",
            "netns",
            "k49-b",
        )
        for name, host in (("a", 1), ("b", 2)):
            ip("-n", f"k49-{name}", "address", "add", f"10.49.0.{host}/24", "dev", f"k49-{name}")
            ip("-n", f"k49-{name}", "link", "set", f"k49-{name}", "up")

    def start(self, name, *command, **options):
        """Run a command on a machine."""
        log = (self.folder / f"{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            ["ip", "netns", "exec", f"k49-{name}", *command],
            env=PATIENT,
            text=True,
            start_new_session=True,
            **{"cwd": self.folder, "stdout": log, "stderr": subprocess.STDOUT, **options},
        )
        self.processes.append(process)
        return process

    def wire(self, state):
        """Plug the wire in or pull it out, `up` or `down`: nobody is told, packets are lost."""
        ip("-n", "k49-b", "link", "set", "k49-b", state)

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for name in "ab":
            ip("netns", "del", f"k49-{name}")


@pytest.fixture
def machines(tmp_path):
    machines = Machines(tmp_path)
    yield machines
    machines.close()


def test_two_machines_find_what_one_does_even_with_the_wire_pulled_out_in_mid_trial(
    machines, tmp_path, train, val, uninterrupted
):
    folder = prepare(tmp_path / "project", train, val, ADDRESS)
    machines.start("a", DASK, "scheduler", "--host", "10.49.0.1", "--no-dashboard")
    worker = f"{DASK} worker {ADDRESS} --nthreads 1 --no-dashboard"
    machines.start("a", *worker.split(), "--name", "a")
    hidden = f"mount -t tmpfs none {folder} && exec {worker} --name b"  # it shares no disk
    machines.start("b", "sh", "-c", hidden)
    stage = machines.start(
        "a", sys.executable, "-m", "stages.tune", cwd=folder, stdout=subprocess.PIPE
    )
    lines = []
    for line in stage.stdout:
        lines.append(line)
        if line.startswith("trial") and "on worker b" in line:
            machines.wire("down")
            time.sleep(SECONDS)
            machines.wire("up")
            break
    lines += stage.stdout.readlines()
    assert stage.wait() == 0, "".join(lines)
    assert any("on worker a" in line for line in lines)
    assert_as_alone(folder, uninterrupted)
