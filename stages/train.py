"""train: train the search's winner; the model into models/, its metrics and curves into git."""

from dataclasses import asdict

import numpy as np

from k49.io import atomic_write
from k49.model_file import trained_parts
from k49.progress import timed
from k49.settings import Settings
from k49.stage import (
    METRICS,
    TRAINED,
    VARIATIONS,
    live_log,
    load_dataset,
    load_hyperparameters,
    publish,
    read_dataset_name,
    run_stage,
)


def main(settings: Settings) -> None:
    """Train, save, and write the metrics of train and validation."""
    with timed("importing"):  # Keras takes seconds: settings are checked before
        from k49.training.augment import variations
        from k49.training.fit import fit, summarize, training_config
        from k49.training.model import save_model

    train, val = load_dataset("train"), load_dataset("val")
    config = training_config(settings, load_hyperparameters(), len(train))
    print(
        f"{len(train)} images, {config.epochs} epochs (the longer of train.epochs, "
        f"{settings.train.epochs}, and train.min_steps, {settings.train.min_steps})"
    )

    training = fit(config, train, val, on_epoch=live_log(config.epochs))
    metrics = summarize(training, train, val)

    save_model(training.model, TRAINED, trained_parts(config))
    with atomic_write(VARIATIONS) as tmp:
        np.save(tmp, variations(train.images[:2], config.augment, 16, config.seed))
    publish(METRICS / "train.json", asdict(metrics))
    print(f"{read_dataset_name()}: {metrics}")


if __name__ == "__main__":
    run_stage(main)
