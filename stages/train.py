"""train: train the search's winner; the network into models/, its metrics and curves into git."""

from k49 import figures, model
from k49.augment import variations
from k49.files import write_json
from k49.pipeline import (
    HYPERPARAMETERS,
    METRICS,
    MODEL,
    PLOTS,
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
    network, metrics = train(
        winner,
        settings.train,
        settings.fit,
        settings.augment,
        train_part,
        load_part("val"),
        settings.seed,
        live_log(),
    )
    model.save(network, MODEL)
    examples = train_part[0][:2]
    varied = [variations(image, settings.augment, 16, settings.seed) for image in examples]
    figures.save(figures.augmentation(examples, varied, dataset_name()), PLOTS / "augmentation.png")
    metrics = {"dataset": dataset_name(), **metrics}
    write_json(METRICS / "train.json", metrics)
    print(metrics)


if __name__ == "__main__":
    run_stage(main)
