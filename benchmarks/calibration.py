"""How near the stand-in comes to what is published for K49, and to real characters.

`make calibrate` draws the stand-in of params.yaml with three seeds and trains every recipe on each,
as the pipeline would. For less, or compared with real images of K49:

    python -m benchmarks.calibration --seeds 1 --real FOLDER

FOLDER holds the files of K49, or some of its images in them. The reading of real images is counted
among the classes that FOLDER has. Writes benchmarks/calibration.json and .md.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from skimage.morphology import skeletonize
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.epoch import machine, publish
from benchmarks.ways import settings_of
from k49.data import Dataset, Subset, one_hot, raw, standin
from k49.data.fetch import fetch
from k49.data.split import split_dataset
from k49.process import in_own_process
from k49.search.search import search, search_config
from k49.settings import Settings, TrainingConfig, validate
from k49.stage import load_settings
from k49.training.fit import fit, training_config
from k49.training.model import predict_proba

Raw = tuple[np.ndarray, np.ndarray]  # images (N, 28, 28) uint8, labels (N,) uint8
INK = 100  # grey from which a pixel is ink
# What is to come out, in percent, from, to, and what is published for K49 itself: the nearest
# neighbours' by Clanuwat et al. 2018 (arXiv:1812.01718), the report's by the report.
TARGETS = {
    "4-nearest-neighbour, test, balanced": (83.0, 89.0, "86.0"),
    "report, validation": (91.5, 95.5, "93.5"),
    "report, test": (86.0, 90.0, "88.0"),
    "default, test": (94.5, 97.0, "-"),
    "cnn, test, balanced": (97.0, 98.5, "-"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--real", type=Path, help="a folder with real images of K49")
    options = parser.parse_args()

    real = read_real(options.real) if options.real else None
    runs, looks = [], []
    for seed in range(1, options.seeds + 1):
        drawn = {split: draw(split, seed) for split in ("train", "test")}
        looks.append(look(drawn["train"]))
        runs.append(figures(drawn, real))
        print(f"seed {seed}: {runs[-1]}", flush=True)
    measured = [{**run, **seen} for run, seen in zip(runs, looks, strict=True)]
    publish("calibration", measured, table(runs, looks, look(real) if real else None))


def read_real(folder: Path) -> Raw:
    settings = load_settings(Path("params.yaml"))
    data = settings.data.model_copy(update={"source": str(folder)})
    with TemporaryDirectory() as tmp:
        fetched, nothing = Path(tmp, "raw"), Path(tmp, "nothing")
        fetch(data, settings.standin, fetched, nothing, nothing)
        parts = [raw.read(fetched, split) for split in ("train", "test")]
        images, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    return images, labels


def draw(split: str, seed: int) -> Raw:
    settings = validate(Settings, settings_of("default"), "default").standin
    labels, chunks = standin.draw(split, settings.model_copy(update={"seed": seed}))
    return np.concatenate(list(chunks)), labels


def figures(drawn: dict[str, Raw], real: Raw | None) -> dict[str, float]:
    """Accuracies in percent of who learns from what was drawn, by the names of TARGETS."""
    recipes = {
        name: validate(Settings, settings_of(name), name) for name in ("report", "default", "cnn")
    }
    parts = split_dataset(
        drawn["train"], drawn["test"], standin.CHARACTERS, recipes["default"].split
    )
    train, val, test = (dataset(parts[name]) for name in ("train", "val", "test"))
    neighbours = KNeighborsClassifier(4, algorithm="brute").fit(flat(train), truth(train))
    right = balanced_accuracy_score(truth(test), neighbours.predict(flat(test)))
    found = {"4-nearest-neighbour, test, balanced": 100 * right}
    for recipe, settings in recipes.items():
        with TemporaryDirectory() as scratch:
            winner = search(search_config(settings), train, val, Path(scratch)).winner
        config = training_config(settings, winner, len(train))
        came = in_own_process(trained_figures, config, (train, val, test), real)
        found |= {f"{recipe}, {name}": value for name, value in came.items()}
    return found


def trained_figures(
    config: TrainingConfig, datasets: tuple[Dataset, Dataset, Dataset], real: Raw | None
) -> dict[str, float]:
    train, val, test = datasets
    training = fit(config, train, val)
    guessed = predict_proba(training.model, test.images).argmax(1)
    found = {
        "validation": training.at_kept_epoch("val_accuracy"),
        "test": np.mean(guessed == truth(test)),
        "test, balanced": balanced_accuracy_score(truth(test), guessed),
    }
    if real:
        classes = np.unique(real[1])
        among = predict_proba(training.model, real[0][..., np.newaxis])[:, classes]
        name = f"real characters among their {len(classes)} classes"
        found[name] = np.mean(classes[among.argmax(1)] == real[1])
    return {name: float(100 * value) for name, value in found.items()}


def dataset(subset: Subset) -> Dataset:
    return Dataset(subset.images[subset.rows], one_hot(subset.labels[subset.rows], subset.classes))


def truth(dataset: Dataset) -> np.ndarray:
    return dataset.labels.argmax(1)


def flat(dataset: Dataset) -> np.ndarray:
    return dataset.images.reshape(len(dataset), -1).astype(np.float32)


def look(raw: Raw) -> dict[str, float]:
    """What images look like, as means over them, lengths in pixels."""
    images = raw[0]
    ink = images > INK
    edges = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    found = {"grey": images.mean(), "black pixels, %": 100 * np.mean(images == 0)}
    found["pixels above 100, %"] = 100 * ink.mean()
    names = ("upper", "lower", "left", "right")
    found["border pixels above 100, %"] = 100 * np.mean(np.stack(edges) > INK)
    for name, edge in zip(names, edges, strict=True):
        found[f"{name} border above 100, %"] = 100 * np.mean(edge > INK)
    for name, axis in (("height", 2), ("width", 1)):
        line = ink.any(axis)
        first, last = line.argmax(1), line.shape[1] - 1 - line[:, ::-1].argmax(1)
        found[f"{name} of the ink"] = np.mean(last - first + 1)
        found[f"{name} of the ink, standard deviation"] = np.std(last - first + 1)
        found[f"middle of the {name}"] = np.mean((first + last) / 2)
    some = ink[:1000]
    found["width of a stroke (ink / its skeleton)"] = np.mean(
        [each.sum() / max(skeletonize(each).sum(), 1) for each in some]
    )
    return {name: float(value) for name, value in found.items()}


def table(runs: list[dict], looks: list[dict], real: dict | None) -> str:
    lines = [
        "# The stand-in compared with K49",
        "",
        f"Stand-in (drawn, not K49) as in params.yaml, {len(runs)} seed(s), by "
        "`python -m benchmarks.calibration`; mean, and in brackets each seed's.",
        "",
        machine(),
        "",
        "| who | K49, published, % | aim, % | stand-in, % |",
        "|---|---|---|---|",
    ]
    for name in runs[0]:
        low, high, published = TARGETS.get(name, (None, None, "-"))
        values = [run[name] for run in runs]
        aim = f"{low:.1f} to {high:.1f}" if low else "-"
        each = ", ".join(f"{value:.1f}" for value in values)
        lines.append(f"| {name} | {published} | {aim} | {np.mean(values):.1f} ({each}) |")
    lines += ["", "| how train images look | real | stand-in |", "|---|---|---|"]
    for name in looks[0]:
        shown = f"{real[name]:.1f}" if real else "-"
        lines.append(f"| {name} | {shown} | {np.mean([one[name] for one in looks]):.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
