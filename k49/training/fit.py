"""Trains one model: what a batch goes through stands in `fit`, top to bottom."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from k49.data import IMAGE_SHAPE, Dataset
from k49.errors import K49Error
from k49.settings import Fit, Hyperparameters, Settings, TrainingConfig
from k49.training.augment import Distort
from k49.training.model import build_model

STEPS_PER_CALL = 50  # training steps for each call from Python: the model is small, calls are not

# What is logged each epoch, and Keras' name for it. The loss is the plain cross-entropy, whatever
# the smoothing of the one that is minimized: losses of two recipes must be the same quantity.
FIGURES = {
    "loss": "cross_entropy",
    "accuracy": "accuracy",
    "val_loss": "val_cross_entropy",
    "val_accuracy": "val_accuracy",
}
History = dict[str, list[float]]  # for each of FIGURES a value an epoch


class DivergedError(K49Error):
    """The loss became NaN."""


def fit(
    config: TrainingConfig,
    train: Dataset,
    val: Dataset,
    on_epoch: Callable[[dict[str, float]], None] = lambda figures: None,
) -> tuple[keras.Model, History]:
    """Build a model and train it; the same seed gives the same model on the same machine.

    The model sees distorted images; validation, and whoever uses the model, never do.

    Args:
        config: layers, recipe, length and seed.
        train, val: what to learn from, and what to watch.
        on_epoch: called after each epoch with loss, accuracy, val_loss, val_accuracy. Both losses
            are the plain cross-entropy.

    Returns:
        The model, with early stopping in the weights of the epoch of lowest val_loss, and the
        figures of each epoch.

    Raises:
        DivergedError: the loss became NaN.
    """
    make_repeatable(config.seed)
    model = build_model(config.hyperparameters, config.fit.batch_normalization, config.dropout)
    trained = keras.Sequential([keras.Input(IMAGE_SHAPE, dtype="uint8")])
    if config.augment.enabled:
        trained.add(Distort(config.augment, config.seed))
    trained.add(model)
    trained.compile(
        optimizer(config, steps=math.ceil(len(train) / config.fit.batch_size) * config.epochs),
        keras.losses.CategoricalCrossentropy(label_smoothing=config.fit.label_smoothing),
        metrics=["accuracy", keras.metrics.CategoricalCrossentropy(name="cross_entropy")],
        steps_per_execution=STEPS_PER_CALL,
    )
    logged = trained.fit(
        train.images,
        train.labels,
        batch_size=config.fit.batch_size,
        epochs=config.epochs,
        validation_data=(val.images, val.labels),
        validation_batch_size=2048,
        callbacks=[
            *early_stopping(config.patience),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: on_epoch({k: logs[v] for k, v in FIGURES.items()})
            ),
            keras.callbacks.TerminateOnNaN(),
        ],
        verbose=0,
    ).history
    history = {name: logged[keras_name] for name, keras_name in FIGURES.items()}
    check(history, config)
    return model, history


def training_config(settings: Settings, found: Hyperparameters) -> TrainingConfig:
    """How to train what the search found; a learning rate in `train` replaces the search's."""
    if settings.train.learning_rate is not None:
        found = found.model_copy(update={"learning_rate": settings.train.learning_rate})
    return TrainingConfig(
        hyperparameters=found,
        fit=settings.fit,
        augment=settings.augment,
        epochs=settings.train.epochs,
        patience=settings.train.patience,
        dropout=settings.train.dropout,
        seed=settings.train.seed,
    )


def make_repeatable(seed: int) -> None:
    """Seed Python, NumPy and Keras, and choose operations that give the same bits every time."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # it warns of new models, which a search is made of
        tf.config.experimental.enable_op_determinism()


def optimizer(config: TrainingConfig, steps: int) -> keras.optimizers.Optimizer:
    """AdamW (arXiv:1711.05101); a weight decay of 0 makes it Adam. Only kernels decay."""
    found = config.hyperparameters
    chosen = keras.optimizers.AdamW(
        schedule(found.learning_rate, steps, config.fit),
        weight_decay=config.fit.weight_decay if found.weight_decay is None else found.weight_decay,
    )
    chosen.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return chosen


def schedule(
    learning_rate: float, steps: int, settings: Fit
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate over all steps: constant, or risen in a line and then lowered to 0."""
    if settings.schedule == "constant":
        return learning_rate
    warmup = int(settings.warmup_ratio * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else learning_rate,
        decay_steps=max(steps - warmup, 1),
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def early_stopping(patience: int | None) -> list[keras.callbacks.Callback]:
    """Stop after `patience` epochs without a lower val_loss, back to the best; None: never."""
    if patience is None:
        return []
    return [
        keras.callbacks.EarlyStopping(
            "val_cross_entropy", mode="min", patience=patience, restore_best_weights=True
        )
    ]


def check(history: History, config: TrainingConfig) -> None:
    """DivergedError if a loss is NaN, or if training ended early with nothing that may end it."""
    epochs = len(history["loss"])
    finite = np.isfinite([*history["loss"], *history["val_loss"]]).all()
    if not finite or (config.patience is None and epochs < config.epochs):
        raise DivergedError(
            f"training diverged in epoch {epochs}: the loss became NaN; lower "
            f"train.learning_rate (it was {config.hyperparameters.learning_rate})"
        )


@dataclass(frozen=True)
class TrainingMetrics:
    """Metrics of a trained model; accuracies as shares of 1, losses as plain cross-entropy."""

    train_accuracy: float  # of the kept weights, without dropout and distortion, as on validation
    val_accuracy: float
    overfitting_gap: float  # train accuracy minus val accuracy
    val_loss: float
    history_gap: float  # the gap of the last epoch as logged, with dropout: the report's figure
    epochs: int
    best_epoch: int  # of lowest val_loss, from 1

    def __str__(self) -> str:
        return (
            f"train accuracy {self.train_accuracy:.4f}, val accuracy {self.val_accuracy:.4f}, "
            f"overfitting gap {self.overfitting_gap:.4f}"
        )


def summarize(
    model: keras.Model, history: History, train: Dataset, val: Dataset
) -> TrainingMetrics:
    """Metrics of a trained model, train and val on the same footing."""
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    _, train_accuracy = score(model, train)
    val_loss, val_accuracy = score(model, val)
    return TrainingMetrics(
        train_accuracy=train_accuracy,
        val_accuracy=val_accuracy,
        overfitting_gap=round(train_accuracy - val_accuracy, 6),
        val_loss=val_loss,
        history_gap=round(history["accuracy"][-1] - history["val_accuracy"][-1], 6),
        epochs=len(history["val_loss"]),
        best_epoch=int(np.argmin(history["val_loss"])) + 1,
    )


def score(model: keras.Model, dataset: Dataset) -> tuple[float, float]:
    """Loss and accuracy of a compiled model, to six digits."""
    loss, accuracy = model.evaluate(dataset.images, dataset.labels, batch_size=2048, verbose=0)
    return round(loss, 6), round(accuracy, 6)
