"""train: train the search's winner; the network into models/, its metrics and curves into git."""

from k49 import model
from k49.files import read_json, write_json
from k49.pipeline import (
    HYPERPARAMETERS,
    METRICS,
    MODEL,
    SPLIT,
    live_log,
    read_yaml,
    run_stage,
    validate,
)
from k49.settings import Hyperparameters, Settings
from k49.split import load_part
from k49.train import train


def main(settings: Settings) -> None:
    """Train, save, and write the metrics of train and validation."""
    winner = validate(Hyperparameters, read_yaml(HYPERPARAMETERS), str(HYPERPARAMETERS))
    network, metrics = train(
        winner,
        settings.train,
        load_part(SPLIT, "train"),
        load_part(SPLIT, "val"),
        settings.seed,
        live_log(),
    )
    model.save(network, MODEL)
    metrics = {"dataset": read_json(METRICS / "data.json")["dataset"], **metrics}
    write_json(METRICS / "train.json", metrics)
    print(metrics)


if __name__ == "__main__":
    run_stage(main)
