"""train: train the search's winner; the network into models/, its metrics and curves into git."""

from k49 import model
from k49.files import write_json
from k49.pipeline import (
    HYPERPARAMETERS,
    METRICS,
    MODEL,
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
    winner = validate(Hyperparameters, read_yaml(HYPERPARAMETERS), str(HYPERPARAMETERS))
    network, metrics = train(
        winner,
        settings.train,
        load_part("train"),
        load_part("val"),
        settings.seed,
        live_log(),
    )
    model.save(network, MODEL)
    metrics = {"dataset": dataset_name(), **metrics}
    write_json(METRICS / "train.json", metrics)
    print(metrics)


if __name__ == "__main__":
    run_stage(main)
