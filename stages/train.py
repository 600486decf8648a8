"""train: train the search's winner; the network into models/, its metrics and curves into git."""

from k49 import model
from k49.augment import variations
from k49.files import write_json, write_npy
from k49.pipeline import (
    HYPERPARAMETERS,
    METRICS,
    MODEL,
    VARIATIONS,
    dataset_name,
    live_log,
    load_part,
    read_yaml,
    run_stage,
    validate,
)
from k49.settings import Hyperparameters, Settings
from k49.train import train


def main(settings: Settings) -> None:
    """Train, save, and write the metrics of train and validation."""
    train_part = load_part("train")
    winner = validate(Hyperparameters, read_yaml(HYPERPARAMETERS), str(HYPERPARAMETERS))
    with live_log() as log:
        network, metrics = train(
            winner,
            settings.train,
            settings.fit,
            settings.augment,
            train_part,
            load_part("val"),
            settings.seed,
            log,
        )
    model.save(network, MODEL)
    write_npy(VARIATIONS, variations(train_part[0][:2], settings.augment, 16, settings.seed))
    metrics = {"dataset": dataset_name(), **metrics}
    write_json(METRICS / "train.json", metrics)
    print(
        f"{metrics['dataset']}: train accuracy {metrics['train']['accuracy']:.4f}, val accuracy "
        f"{metrics['val']['accuracy']:.4f}, overfitting gap {metrics['overfitting_gap']:.4f}"
    )


if __name__ == "__main__":
    run_stage(main)
