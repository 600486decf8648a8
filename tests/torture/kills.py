"""Kills in the middle of everything; then `dvc repro`, and the same bytes as undisturbed."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from k49.io import parse_yaml
from tests.helpers import STAGES, Repo, environment
from tests.torture.tried import Tried, rng, tried

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOMENTS = 10  # for each signal
LIMIT = 300  # seconds
# What DVC says of the files that it writes in place, if a kill has cut one off
CUT_OFF = re.compile(
    r"'\./(dvc\.lock)' (?:validation failed|is invalid)|read RWLock-file '(\.dvc/tmp/rwlock)'"
)


def start(repo: Repo, *command: str) -> subprocess.Popen:
    """Start a command as a terminal does: a group of processes of its own."""
    return subprocess.Popen(
        command,
        cwd=repo.path,
        env=environment(repo.path, warm=False),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def strike(running: subprocess.Popen, number: signal.Signals, whole: bool, name: str) -> None:
    """Send a signal to a group of processes, or to the one in it that has a name."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if whole:
            os.killpg(running.pid, number)
            return
        for child in psutil.Process(running.pid).children(recursive=True):
            if name in " ".join(child.cmdline()) and "python" in child.name():
                child.send_signal(number)
                return
        os.killpg(running.pid, number)


def disturbed(
    repo: Repo, command: list[str], number: signal.Signals, moment: int, seconds: float
) -> str:
    """Run a command, strike at a moment, and return what it said."""
    draw = rng(*command, number, moment)
    whole = number == signal.SIGINT or (number == signal.SIGKILL and moment % 2 == 0)
    running = start(repo, *command)
    time.sleep(draw.uniform(0.02, 0.98) * seconds)
    strike(running, number, whole, command[-1])
    said, _ = running.communicate(timeout=LIMIT)
    return said


def healed(repo: Repo, undisturbed: dict[str, bytes], row: Tried, case: str) -> None:
    """Check that `dvc repro` brings everything back.

    Where a kill has cut one of DVC's own files off, that goes first, as docs/reliability.md says.
    Of a dvc.lock that was cut off between two stages DVC says nothing: it adds the lost stages at
    the end.
    """
    done = repo.dvc("repro", check=False, timeout=LIMIT)
    if done.returncode and (cut := CUT_OFF.search(done.stdout)):
        row.notes.append(f"{case}: {cut[1] or cut[2]} cut off")
        repo.run("bash", "-c", "git checkout -q dvc.lock; rm -f .dvc/tmp/rwlock")
        done = repo.dvc("repro", check=False, timeout=LIMIT)
    row.check(done.returncode == 0, f"{case}: dvc repro: {done.stdout[-300:]}")
    committed = repo.git("show", "HEAD:dvc.lock").stdout.encode()
    cut_off = (repo.path / "dvc.lock").read_bytes() != committed
    if cut_off and repo.read("dvc.lock") == parse_yaml(committed, "HEAD:dvc.lock"):
        row.notes.append(f"{case}: dvc.lock cut off between two stages")
        repo.git("checkout", "--quiet", "dvc.lock")
    found = repo.contents()
    differ = sorted(
        name for name in {*found, *undisturbed} if found.get(name) != undisturbed.get(name)
    )
    row.check(not differ, f"{case}: other bytes: {differ[:5]}")
    status = repo.git("status", "--porcelain").stdout
    row.check(not status, f"{case}: left over: {status[:300]}")


def of_command(base: Repo, command: list[str], folder: Path, quiet: bool) -> Iterator[Tried]:
    """Strike a command at random moments.

    `quiet`: whether it must not print a traceback, as DVC's own commands may.
    """
    first = base.copy_to(folder / "timed")
    undisturbed = first.contents()
    begun = time.monotonic()
    running = start(first, *command)
    running.communicate(timeout=LIMIT)
    seconds = time.monotonic() - begun
    shutil.rmtree(first.path.parent)

    def case(number: signal.Signals, moment: int, row: Tried) -> None:
        name = f"{number.name} {moment}"
        place = folder / name.replace(" ", "-")
        repo = base.copy_to(place)
        said = disturbed(repo, command, number, moment, seconds)
        row.check(not quiet or "Traceback" not in said, f"{name}: {said[-500:]}")
        healed(repo, undisturbed, row, name)
        shutil.rmtree(place, ignore_errors=True)

    for number in SIGNALS:
        cases = {
            f"{number.name} {moment}": partial(case, number, moment) for moment in range(MOMENTS)
        }
        what = f"{' '.join(command[:2])} {command[-1]}".replace("dvc repro", "stage")
        yield tried("kills", f"{number.name} in {what}", cases, at_once=2)


def in_queue(base: Repo, folder: Path, number: signal.Signals, moment: int, row: Tried) -> None:
    """Strike all that runs of DVC's queue, while an experiment runs in it."""
    repo = base.copy_to(folder / f"{number.name}-{moment}")
    undisturbed = repo.contents()
    repo.dvc("exp", "run", "--queue", "-S", "train.seed=7")
    start(repo, "dvc", "queue", "start")
    time.sleep(rng("queue", number, moment).uniform(3, 12))
    for sent in (number, signal.SIGKILL):  # what a worker waits with is struck once more
        for process in inside(repo.path):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(sent)
        time.sleep(1)
    healed(repo, undisturbed, row, f"{number.name} {moment}")
    shutil.rmtree(repo.path.parent, ignore_errors=True)


def inside(folder: Path) -> list[psutil.Process]:
    """Return the processes that run in a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def section(base: Repo, folder: Path) -> Iterator[Tried]:
    """Strike each stage, `k49 report`, and DVC's queue."""
    for stage in STAGES:
        command = ["dvc", "repro", "--force", "--single-item", stage]
        yield from of_command(base, command, folder / stage, quiet=False)
    command = ["k49", "report", "--base", "HEAD"]
    yield from of_command(base, command, folder / "report", quiet=True)
    for number in SIGNALS:
        cases = {
            f"{number.name} {moment}": partial(in_queue, base, folder / "queue", number, moment)
            for moment in range(MOMENTS)
        }
        yield tried("kills", f"{number.name} in DVC's queue", cases, at_once=2)
