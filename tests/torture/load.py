"""Much at once: 10,000 pictures, and 1,000 experiments, within a GiB."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pygit2
from PIL import Image

from tests.helpers import Repo, environment, ink
from tests.torture.tried import Tried, tried

PICTURES, EXPERIMENTS = 10_000, 1_000
MOST_MIB = 1024
MEASURE = (
    "import resource, subprocess, sys\n"
    "status = subprocess.run(sys.argv[1:]).returncode\n"
    "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
    "print(f'\\n{status} {peak:.0f}')\n"
)


def measured(repo: Repo, *command: str) -> tuple[str, str, int, float]:
    """Run a command: what it printed, what it said, its status, its peak memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        cwd=repo.path,
        env=environment(repo.path, warm=False),
        capture_output=True,
        text=True,
        check=False,
    )
    printed, _, last = done.stdout.rstrip().rpartition("\n")
    status, peak = last.split()
    return printed, done.stderr, int(status), float(peak)


def pictures(repo: Repo, folder: Path, row: Tried) -> None:
    """Read many pictures in one call."""
    folder.mkdir()
    names = [str(folder / f"{number}.png") for number in range(PICTURES)]
    picture = Image.fromarray(255 - ink(60, 60))
    for name in names:
        picture.save(name)
    begun = time.monotonic()
    printed, said, status, peak = measured(repo, "k49", "predict", *names, "--format", "csv")
    seconds = time.monotonic() - begun
    row.check(status == 0, f"status {status}: {said[-300:]}")
    row.check(printed.count("\n") >= 5 * PICTURES, "rows are missing")
    row.check(peak < MOST_MIB, f"{peak:.0f} MiB")
    row.check(f"of {PICTURES:,}" in said, f"no progress: {said[:300]}")
    row.notes.append(f"{seconds:.0f} s, {peak:.0f} MiB")


def experiments(repo: Repo, row: Tried) -> None:
    """Compare with many experiments, and list them."""
    git = pygit2.Repository(repo.path)
    head = git.head.peel(pygit2.Commit)
    params = (repo.path / "params.yaml").read_text("utf-8")
    base = head.tree
    for number in range(EXPERIMENTS):
        changed = params.replace(
            "seed: 49                # of the first", f"seed: {number:<18}# of"
        )
        index = pygit2.Index()
        index.read_tree(base)
        mode = pygit2.enums.FileMode.BLOB
        index.add(pygit2.IndexEntry("params.yaml", git.create_blob(changed.encode()), mode))
        tree, who = index.write_tree(git), head.author
        made = git.create_commit(None, who, who, "seed", tree, [head.id])
        sha = str(head.id)
        git.references.create(f"refs/exps/{sha[:2]}/{sha[2:]}/seeds-{number}", made)
    begun = time.monotonic()
    printed, said, status, peak = measured(
        repo, "k49", "compare", "seeds-*", "HEAD", "--format", "json"
    )
    row.check(status == 0, f"compare: status {status}: {said[-300:]}")
    row.check(len(json.loads(printed)["a"]) == EXPERIMENTS, "compare: experiments are missing")
    row.check(peak < MOST_MIB, f"compare: {peak:.0f} MiB")
    row.notes.append(f"compare {time.monotonic() - begun:.0f} s, {peak:.0f} MiB")
    begun = time.monotonic()
    printed, said, status, peak = measured(repo, "dvc", "exp", "show", "--csv")
    row.check(printed.count("seeds-") >= EXPERIMENTS, f"exp show: {status} {said[-300:]}")
    row.notes.append(f"dvc exp show {time.monotonic() - begun:.0f} s, {peak:.0f} MiB")


def section(base: Repo, folder: Path) -> Iterator[Tried]:
    """Both."""
    what = f"{PICTURES:,} pictures in one `k49 predict`"
    yield tried("load", what, {"pictures": lambda row: pictures(base, folder / "pictures", row)})
    what = f"{EXPERIMENTS:,} experiments"
    repo = base.copy_to(folder)
    yield tried("load", what, {"experiments": lambda row: experiments(repo, row)})
