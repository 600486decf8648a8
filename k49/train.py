"""Trains one network: what a batch goes through stands in `fit`, top to bottom."""

import math
import time
from collections.abc import Callable

import keras
import numpy as np

from k49 import model
from k49.augment import Distort
from k49.errors import K49Error
from k49.settings import Augment, Fit, Hyperparameters, Train

STEPS_PER_CALL = 50  # training steps for each call from Python: the network is small, calls are not

Arrays = tuple[np.ndarray, np.ndarray]  # images (N, 28, 28, 1) uint8, one-hot labels (N, 49) uint8
Log = Callable[[dict[str, float]], None]


def fit(
    network: keras.Model,
    train: Arrays,
    val: Arrays,
    *,
    hyperparameters: Hyperparameters,
    settings: Fit,
    augment: Augment,
    epochs: int,
    seed: int,
    callbacks: list[keras.callbacks.Callback],
) -> dict[str, list[float]]:
    """Train `network`; returns its figures, a list with a value for each epoch.

    The network sees distorted images; validation, and whoever uses the network, never do.
    """
    trained = keras.Sequential([keras.Input(model.IMAGE_SHAPE, dtype="uint8")])
    if augment.enabled:
        trained.add(Distort(augment, seed))
    trained.add(network)

    steps = math.ceil(len(train[0]) / settings.batch_size) * epochs
    decay = hyperparameters.weight_decay
    optimizer = keras.optimizers.AdamW(
        schedule(hyperparameters.learning_rate, steps, settings),
        weight_decay=settings.weight_decay if decay is None else decay,  # 0 makes it plain Adam
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    trained.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing),
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_CALL,
    )
    return trained.fit(
        *train,
        batch_size=settings.batch_size,
        epochs=epochs,
        validation_data=val,
        validation_batch_size=2048,
        callbacks=[*callbacks, keras.callbacks.TerminateOnNaN()],
        verbose=0,
    ).history


def schedule(
    learning_rate: float, steps: int, settings: Fit
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate over all steps: constant, or risen in a line and then lowered to 0."""
    if settings.schedule == "constant":
        return learning_rate
    warmup = int(settings.warmup * steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else learning_rate,
        decay_steps=max(steps - warmup, 1),
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def train(
    hyperparameters: Hyperparameters,
    settings: Train,
    fitting: Fit,
    augment: Augment,
    train: Arrays,
    val: Arrays,
    seed: int,
    on_epoch: Log,
) -> tuple[keras.Model, dict]:
    """Train the network that the search found.

    Args:
        hyperparameters: layers, activation, initializer, learning rate and weight decay.
        settings: epochs, patience, dropout; a learning rate of its own replaces the search's.
        fitting, augment: as in the search.
        train, val: images and one-hot labels.
        seed: the same seed gives the same network on the same machine.
        on_epoch: called after each epoch with loss, accuracy, val_loss, val_accuracy.

    Returns:
        The network with the weights of the epoch of lowest val_loss, and its metrics.
    """
    if settings.learning_rate is not None:
        hyperparameters = hyperparameters.model_copy(
            update={"learning_rate": settings.learning_rate}
        )
    make_repeatable(seed)
    network = model.build(hyperparameters, fitting.batch_normalization, settings.dropout)
    history = fit(
        network,
        train,
        val,
        hyperparameters=hyperparameters,
        settings=fitting,
        augment=augment,
        epochs=settings.epochs,
        seed=seed,
        callbacks=[
            keras.callbacks.EarlyStopping(
                "val_loss", mode="min", patience=settings.patience, restore_best_weights=True
            ),
            Progress(settings.epochs),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: on_epoch(logs)),
        ],
    )
    if not np.isfinite([*history["loss"], *history["val_loss"]]).all():
        raise K49Error(
            f"training diverged in epoch {len(history['loss'])}: the loss became NaN; lower "
            f"train.learning_rate (it was {hyperparameters.learning_rate})"
        )
    return network, summarize(network, history, train, val)


def make_repeatable(seed: int) -> None:
    """Seed Python, NumPy and Keras, and choose operations that give the same bits every time."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def summarize(network: keras.Model, history: dict, train: Arrays, val: Arrays) -> dict:
    """Metrics of a trained network, train and val on the same footing.

    `overfitting_gap` is train accuracy minus val accuracy of the final weights, without dropout.
    `history_gap` is the report's: the same difference in the last epoch's figures as logged
    during training, where train accuracy is a running mean under dropout.
    """
    metrics = {}
    network.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    for part, (images, labels) in {"train": train, "val": val}.items():
        loss, accuracy = network.evaluate(images, labels, batch_size=2048, verbose=0)
        metrics[part] = {"loss": round(loss, 6), "accuracy": round(accuracy, 6)}
    gap = metrics["train"]["accuracy"] - metrics["val"]["accuracy"]
    return {
        **metrics,
        "overfitting_gap": round(gap, 6),
        "history_gap": round(history["accuracy"][-1] - history["val_accuracy"][-1], 6),
        "epochs": len(history["val_loss"]),
        "best_epoch": int(np.argmin(history["val_loss"])) + 1,
    }


class Progress(keras.callbacks.Callback):
    """One line for each epoch: how far, how good, how long still."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Print the line."""
        seconds = (time.perf_counter() - self.start) / (epoch + 1)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        left = seconds * (self.epochs - epoch - 1)
        at = f"epoch {epoch + 1}/{self.epochs}"
        print(f"{at}  {figures}  {seconds:.2f} s an epoch, {left:.0f} s left at most", flush=True)
