"""Whether `k49 suspects` finds wrong labels that were planted.

    python -m benchmarks.labels <folder with K49's files> --recipes default cnn

Changes 2 % of the labels of train and test: to any other class, or to the one most like it (the
nearest mean image). Trains each recipe on five folds, in a clone that is removed, and prints a row
of Markdown: how many of the planted errors are among the first 3 % of all images, how many of the
first 100 images are planted ones, and how many errors `k49 suspects` estimates.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.epoch import ROOT

SHARE, FIRST, FOLDS = 0.02, 0.03, 5
NAMES = "k49-{}-imgs.npz", "k49-{}-labels.npz"


def similar(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return for each label the class whose mean image is nearest."""
    present = np.unique(labels)
    means = np.array([images[labels == label].mean(0).ravel() for label in present])
    distances = ((means[:, None] - means) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    nearest = np.arange(labels.max() + 1)
    nearest[present] = present[distances.argmin(1)]
    return nearest


def plant(source: Path, target: Path, kind: str) -> set[tuple[str, int]]:
    """Write the dataset with wrong labels; return where they are."""
    rng, planted = np.random.default_rng(0), set()
    for path in source.glob("*classmap.csv"):
        (target / path.name).write_bytes(path.read_bytes())
    for split in ("train", "test"):
        images, labels = (np.load(source / name.format(split))["arr_0"] for name in NAMES)
        wrong = rng.permutation(len(labels))[: round(SHARE * len(labels))]
        others = np.unique(labels)
        place = np.searchsorted(others, labels[wrong])
        uniform = others[(place + rng.integers(1, len(others), len(wrong))) % len(others)]
        changed = labels.copy()
        changed[wrong] = uniform if kind == "uniform" else similar(images, labels)[labels[wrong]]
        for name, array in zip(NAMES, (images, changed), strict=True):
            np.savez_compressed(target / name.format(split), array)
        planted |= {(split, int(row)) for row in wrong}
    return planted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--recipes", nargs="+", default=["default", "cnn"])
    parser.add_argument("--kinds", nargs="+", default=["uniform", "similar"])
    options = parser.parse_args()
    print("| recipe | errors | planted | among the first 3 % | of the first 100 | estimated |")
    print("|---|---|---|---|---|---|", flush=True)
    for kind in options.kinds:
        for recipe in options.recipes:
            print(row(options.source.resolve(), kind, recipe), flush=True)


def row(source: Path, kind: str, recipe: str) -> str:
    with TemporaryDirectory() as clone, TemporaryDirectory() as folder:
        planted = plant(source, Path(folder), kind)
        run(ROOT, "git", "clone", "--quiet", str(ROOT), clone)
        settings = run(Path(clone), "k49", "recipe", recipe).split()
        for fold in range(FOLDS):
            changes = (f"data.source={folder}", f"split.fold={fold}")
            sets = [part for change in changes for part in ("-S", change)]
            run(Path(clone), "dvc", "exp", "run", "--name", f"folds-{fold}", *settings, *sets)
        ask = ("k49", "suspects", "folds-*", "--top", "1000000", "--format", "json")
        known = json.loads(run(Path(clone), *ask))
    places = [(suspect["split"], suspect["index"]) for suspect in known["suspects"]]
    first = places[: round(FIRST * known["judged"])]
    hits, precise = len(planted & set(first)), len(planted & set(places[:100]))
    return (
        f"| {recipe} | {kind} | {len(planted)} | {hits / len(planted):.1%} | {precise} | "
        f"{known['estimated_errors']:.0f} |"
    )


def run(folder: Path, *command: str) -> str:
    program = Path(sys.executable).with_name(command[0])
    words = [str(program) if program.exists() else command[0], *command[1:]]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


if __name__ == "__main__":
    main()
