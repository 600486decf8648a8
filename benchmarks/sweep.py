"""How long `k49 rank` takes for many experiments, and how much memory.

    python -m benchmarks.sweep 1000

The experiments are made up: the committed run with other settings, and other validation images read
wrongly. They go into a clone, which is removed. Prints one line, for docs/sweeps.md.
"""

import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pygit2

from benchmarks.epoch import ROOT
from k49.evaluation import predictions
from k49.stage import CLASSES

SEEDS = 2  # of each setting


def make(folder: Path, experiments: int) -> None:
    """Add so many experiments to the repository's HEAD, as DVC keeps them."""
    git = pygit2.Repository(str(folder))
    head = git.head.target
    tree = git[head].peel(pygit2.Tree)
    params = tree["params.yaml"].data.decode()
    val = predictions.load(io.BytesIO(tree[str(CLASSES["val"])].data), "val")
    rng = np.random.default_rng(0)
    who = pygit2.Signature("Benchmark", "benchmark@example.invalid", 0, 0)
    for i in range(experiments):
        rate = f"  learning_rate: {0.001 + i // SEEDS * 1e-6:.6f} #"
        text = params.replace("  learning_rate:          #", rate)
        text = text.replace("  seed: 49                # of the first", f"  seed: {i % SEEDS} #")
        wrong = rng.integers(0, len(val), len(val) // 50)
        predicted = val.predicted.copy()
        predicted[wrong] = (predicted[wrong] + 1) % len(val.classes)
        path = folder / CLASSES["val"]
        predictions.save(replace(val, predicted=predicted), path)
        index = pygit2.Index()
        index.read_tree(tree)
        for name, content in (("params.yaml", text.encode()), (CLASSES["val"], path.read_bytes())):
            blob = git.create_blob(content)
            index.add(pygit2.IndexEntry(str(name), blob, pygit2.enums.FileMode.BLOB))
        commit = git.create_commit(None, who, who, "made up", index.write_tree(git), [head])
        git.references.create(f"refs/exps/{str(head)[:2]}/{str(head)[2:]}/made-up-{i}", commit)


def main() -> None:
    experiments = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
        make(Path(folder), experiments)
        start = time.perf_counter()
        command = [str(Path(sys.executable).with_name("k49")), "rank", "--format", "csv"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    rows = len(output.splitlines()) - 1
    print(
        f"{experiments:,} experiments, {rows:,} settings: {seconds:.1f} s, "
        f"{usage.ru_maxrss / 1024:.0f} MiB, exit status {status}"
    )


if __name__ == "__main__":
    main()
