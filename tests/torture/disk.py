"""Full disks, no names left, read-only folders, small files: one line, and nothing lost."""

import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.helpers import STAGES, Repo, environment, python_path
from tests.torture.tried import Tried, one_line, tried

LIMIT = 90  # seconds
REPORT = ("k49", "report", "--base", "HEAD")
PREDICT = ("k49", "predict", "docs/scan.png")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, in memory; it takes root."""
    folder.mkdir(parents=True)
    options = "size=64m,nr_inodes=4000"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def mounts() -> bool:
    """Return whether this process may mount."""
    with (
        tempfile.TemporaryDirectory() as folder,
        suppress(OSError, subprocess.CalledProcessError),
        small_disk(Path(folder, "disk")),
    ):
        return True
    return False


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def no_names(disk: Path) -> Iterator[None]:
    """Leave no inode."""
    folder = disk / "fillers"
    folder.mkdir()
    with suppress(OSError):
        for number in range(10**6):
            (folder / str(number)).touch()
    try:
        yield
    finally:
        shutil.rmtree(folder)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Allow nothing to be written."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def files_of_4_kib() -> None:
    """Let this process write no file of more."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def run(
    repo: Repo,
    command: tuple[str, ...],
    before: Callable | None = None,
    tmp: Path | None = None,
    warm: bool = False,
):
    """Run a command, the outputs of a stage lying where they lay; a search from its first trial."""
    shutil.rmtree(repo.path / "data/search", ignore_errors=True)
    env = environment(repo.path, warm=warm)
    if tmp is not None:
        env["TMPDIR"] = str(tmp)
    env |= {"PYTHONPATH": python_path(repo.path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        ["env", *command],  # which looks for it in the new PATH
        cwd=repo.path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        preexec_fn=before,
    )


def commands() -> dict[str, tuple[str, ...]]:
    """Each stage, and the commands."""
    stages = {f"stage {stage}": ("python", "-m", f"stages.{stage}") for stage in STAGES}
    return {**stages, "k49 report": REPORT, "k49 predict": PREDICT}


def survives(repo: Repo, done: subprocess.CompletedProcess, kept: dict, row: Tried) -> None:
    """Check that a command ended well or in a line, and took nothing away."""
    where = " ".join(done.args[-2:])
    said = done.stderr
    if done.returncode:
        row.check(one_line(said), f"{where}: {said[-600:]}")
        row.check("a bug in" not in said, f"{where}: {said[-600:]}")
    row.check("Traceback" not in done.stdout + said, f"{where}: {said[-600:]}")
    lost = sorted(set(kept) - set(repo.contents()))
    row.check(not lost, f"{where}: lost {lost}")
    row.check(repo.contents() == kept, f"{where}: other bytes")


def ending(done: subprocess.CompletedProcess) -> str:
    """Return how a command ended, to be counted."""
    return "in a line" if done.returncode else "ended well"


def again(repo: Repo, command: tuple[str, ...], row: Tried) -> subprocess.CompletedProcess:
    """Run a command once more, with all that it needs; it has to end well."""
    done = run(repo, command, warm=True)
    row.check(done.returncode == 0, f"{command[-1]} again: {done.stderr[-300:]}")
    return done


def section(base: Repo, folder: Path) -> Iterator[Tried]:
    """Each stage and command in each plight, and once more with room again."""
    kept = base.contents()
    if not mounts():
        yield Tried("disk", "full, read-only, no inodes", 0, ["left out: mounting takes root"])
    else:
        with small_disk(folder / "disk") as disk:
            repo = base.copy_to(disk)

            def case(row, plight, command):
                tmp = disk / "tmp"
                tmp.mkdir(exist_ok=True)
                with plight(disk):
                    done = run(repo, command, tmp=tmp)
                row.outcomes.append(ending(done))
                survives(repo, done, kept, row)
                shutil.rmtree(tmp)
                survives(repo, again(repo, command, row), kept, row)
                repo.git("clean", "-qfd")

            plights = {"full": full, "no inodes": no_names, "read-only": read_only}
            for what, plight in plights.items():
                cases = {
                    name: partial(case, plight=plight, command=command)
                    for name, command in commands().items()
                }
                yield tried("disk", what, cases)
    repo = base.copy_to(folder / "limited")

    def limited(row, command):
        survives(repo, run(repo, command, files_of_4_kib), kept, row)
        again(repo, command, row)

    cases = {name: partial(limited, command=command) for name, command in commands().items()}
    yield tried("disk", "files of 4 KiB at most (`ulimit -f`)", cases)
