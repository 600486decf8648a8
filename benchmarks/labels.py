"""Whether `k49 suspects` finds wrong labels that were planted.

    python -m benchmarks.labels <folder with K49's files> --recipes default cnn

Changes 2 % of the labels of train and test: to any other class, or to the one most like it (the
nearest mean image). Trains each recipe on five folds, in a clone that is removed, and prints a row
of Markdown: how many of the planted errors are among the first 3 % of all images, how many of the
first 100 images are planted ones, and how many errors `k49 suspects` estimates. With `--clean` it
leaves the likely errors out of train and validation, unseen by anybody, and prints what `k49
compare` says of three seeds each (2 % of the test labels stay wrong).
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.epoch import ROOT
from k49.text import csv_text

SHARE, FIRST, FOLDS, SEEDS = 0.02, 0.03, 5, 3
LIST = "labels/likely.csv"
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
    parser.add_argument("--clean", action="store_true", help="also train without likely errors")
    options = parser.parse_args()
    print("| recipe | errors | planted | among the first 3 % | of the first 100 | estimated |")
    print("|---|---|---|---|---|---|", flush=True)
    for kind in options.kinds:
        for recipe in options.recipes:
            for line in lines(options.source.resolve(), kind, recipe, options.clean):
                print(line, flush=True)


def lines(source: Path, kind: str, recipe: str, clean: bool) -> Iterator[str]:
    with TemporaryDirectory() as clone, TemporaryDirectory() as folder:
        planted, repo = plant(source, Path(folder), kind), Path(clone)
        run(ROOT, "git", "clone", "--quiet", str(ROOT), clone)
        settings = [*run(repo, "k49", "recipe", recipe).split(), "-S", f"data.source={folder}"]
        for fold in range(FOLDS):
            experiment(repo, f"folds-{fold}", *settings, "-S", f"split.fold={fold}")
        ask = ("k49", "suspects", "folds-*", "--top", "1000000", "--format", "json")
        known = json.loads(run(repo, *ask))
        yield row(known, kind, recipe, planted)
        if clean:
            yield cleaned(repo, known["suspects"], settings)


def experiment(repo: Path, name: str, *settings: str) -> None:
    run(repo, "git", "checkout", "--", "params.yaml")  # without the settings of the last one
    run(repo, "dvc", "exp", "run", "--name", name, *settings)


def cleaned(repo: Path, suspects: list[dict], settings: list[str]) -> str:
    """Train without the likely errors of the folds, and with them; return the verdict."""
    wrong = [suspect for suspect in suspects if suspect["likely_error"]]
    (repo / LIST).write_text(csv_text(wrong, list(wrong[0])), "utf-8")
    run(repo, "git", "add", LIST)
    for seed in range(1, SEEDS + 1):
        of_seed = ("-S", f"train.seed={seed}")
        experiment(repo, f"all-{seed}", *settings, *of_seed)
        experiment(repo, f"clean-{seed}", *settings, *of_seed, "-S", f"data.exclude={LIST}")
    return run(repo, "k49", "compare", "all-*", "clean-*").splitlines()[-1]


def row(known: dict, kind: str, recipe: str, planted: set[tuple[str, int]]) -> str:
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
