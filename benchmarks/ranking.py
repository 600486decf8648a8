"""Does the search's short training rank candidates as full training does?

    python -m benchmarks.ranking FOLDER [--trials 8] [--epochs 3 5 10 20]

FOLDER holds data/split and a params.yaml, as the pipeline leaves them. The candidates are those
that the search draws from the space that `tune.space` names; each is trained for a few epochs as a
trial is, and then in full. Prints each one's figures, and the rank correlation of each number of
epochs with full training (Spearman's; 1: the same order).
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.stats import spearmanr

from benchmarks.ways import load
from k49.data import Dataset
from k49.process import in_own_process
from k49.search.search import search, search_config
from k49.settings import Hyperparameters, Settings, TrainingConfig
from k49.stage import load_settings
from k49.training.fit import fit, training_config


def main() -> None:
    """Search with each number of epochs, train every candidate in full, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 5, 10, 20])
    options = parser.parse_args()

    settings = load_settings(options.folder / "params.yaml")
    train, val = (Dataset(*load(options.folder, np.uint8, name)) for name in ("train", "val"))
    short = {n: trials(settings, (options.trials, n), train, val) for n in options.epochs}
    candidates = [
        Hyperparameters(**{key: row[key] for key in Hyperparameters.model_fields})
        for row in short[options.epochs[0]]
    ]
    full = [
        in_own_process(figures, training_config(settings, c, len(train)), train, val)
        for c in candidates
    ]

    for i, candidate in enumerate(candidates):
        few = "  ".join(f"{rows[i]['val_accuracy']:.4f}" for rows in short.values())
        print(f"{candidate}: after {options.epochs}: {few}; in full {full[i]}")
    accuracy, loss = np.array(full).T
    for n, rows in short.items():
        scores = [row["val_accuracy"] for row in rows]
        best = int(np.argmax(scores))
        print(
            f"{n} epochs: rank correlation {spearmanr(scores, accuracy).statistic:.2f} with the "
            f"val_accuracy of full training, {spearmanr(scores, -loss).statistic:.2f} with its "
            f"val_loss; the winner is {accuracy.max() - accuracy[best]:.4f} below the best"
        )


def trials(settings: Settings, size: tuple[int, int], train: Dataset, val: Dataset) -> list[dict]:
    """The rows of a search of so many trials of so many epochs; the trials are always the same."""
    config = search_config(settings)
    tune = config.tune.model_copy(update=dict(zip(("trials", "epochs"), size, strict=True)))
    with TemporaryDirectory() as scratch:
        return search(config.model_copy(update={"tune": tune}), train, val, Path(scratch)).rows


def figures(config: TrainingConfig, train: Dataset, val: Dataset) -> tuple[float, float]:
    """The val_accuracy and val_loss that full training ends with."""
    training = fit(config, train, val)
    return training.at_kept_epoch("val_accuracy"), training.at_kept_epoch("val_loss")


if __name__ == "__main__":
    main()
