"""Trains one model: epochs, and what happens between them; `engine` has the training step."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from k49.data import Dataset, chunks
from k49.errors import K49Error
from k49.progress import timed
from k49.settings import Hyperparameters, Settings, TrainingConfig
from k49.training.batches import Batches
from k49.training.engine import SCORED_AT_ONCE, compile_score_block, compile_train_block
from k49.training.model import build_model


class Scorer:
    """A model made ready to be scored again and again while it trains."""

    def __init__(self, model: keras.Model) -> None:
        self.score_block = compile_score_block(model)
        with timed("compiling"):
            self.score_block(
                np.zeros((SCORED_AT_ONCE, *model.input_shape[1:]), np.uint8),
                np.zeros((SCORED_AT_ONCE, *model.output_shape[1:]), np.uint8),
            )

    def __call__(self, dataset: Dataset) -> tuple[float, float]:
        """Return mean cross-entropy and accuracy, a share of 1, without dropout."""
        sums = np.zeros(2)
        for chunk in chunks(len(dataset), SCORED_AT_ONCE):
            images, labels = zero_padded(dataset.images[chunk]), zero_padded(dataset.labels[chunk])
            sums += self.score_block(images, labels).numpy()
        loss, accuracy = sums / len(dataset)
        return float(loss), float(accuracy)


def zero_padded(chunk: np.ndarray) -> np.ndarray:
    """Pad a chunk with zeros to SCORED_AT_ONCE: one compiled program serves all chunks."""
    if len(chunk) == SCORED_AT_ONCE:
        return chunk
    return np.concatenate(
        [chunk, np.zeros((SCORED_AT_ONCE - len(chunk), *chunk.shape[1:]), chunk.dtype)]
    )


# loss, accuracy, val_loss, val_accuracy: for each a value an epoch
History = dict[str, list[float]]


@dataclass(frozen=True)
class Training:
    model: keras.Model
    history: History
    kept_epoch: int  # the one whose weights the model has, from 1
    score: Scorer  # of the model

    def at_kept_epoch(self, name: str) -> float:
        return self.history[name][self.kept_epoch - 1]


class DivergedError(K49Error):
    """The loss became NaN."""


def fit(
    config: TrainingConfig,
    train: Dataset,
    val: Dataset,
    on_epoch: Callable[[dict[str, float]], None] = lambda figures: None,
) -> Training:
    """Build a model and train it; the same seed gives the same model on the same machine.

    The model sees distorted images; validation, and whoever uses the model, never do.

    Args:
        config: layers, recipe, length and seed.
        train, val: what to learn from, and what to watch.
        on_epoch: called after each epoch with loss, accuracy, val_loss, val_accuracy. Both losses
            are the plain cross-entropy, whatever the smoothing of the one that is minimized: losses
            of two recipes must be the same quantity.

    Returns:
        The model and its history; with patience, the weights of the epoch of lowest val_loss.

    Raises:
        DivergedError: a loss became NaN.
    """
    make_repeatable(config.seed)
    shape, classes = train.images.shape[1:], train.labels.shape[1]
    model = build_model(config.hyperparameters, config.fit, shape, classes)
    optimizer = open_optimizer(config)
    optimizer.build(model.trainable_variables)
    train_block = compile_train_block(model, optimizer, config)
    score = Scorer(model)
    stopping = early_stopping(config.fit.patience, model)
    batches = Batches(train, config.fit.batch_size, config.seed)
    rates = partial(learning_rates, config, batches.steps(config.epochs))
    history: History = {}
    with timed("compiling"):  # by taking no steps
        none = np.zeros(batches.block_steps, np.float32)
        train_block(batches.images, batches.labels, none, tf.constant(0))
        give_back_memory()

    for epoch in range(config.epochs):
        loss, accuracy = train_epoch(train_block, optimizer, batches, rates)
        with timed("validation"):
            val_loss, val_accuracy = score(val)
        figures = dict(loss=loss, accuracy=accuracy, val_loss=val_loss, val_accuracy=val_accuracy)
        check_finite(figures, epoch, config)
        for name, value in figures.items():
            history.setdefault(name, []).append(value)
        on_epoch(figures)
        stopping.on_epoch_end(epoch, figures)
        if model.stop_training:
            break

    stopping.on_train_end()
    return Training(model, history, kept_epoch(history, config), score)


def train_epoch(
    train_block: Callable,
    optimizer: keras.optimizers.Optimizer,
    batches: Batches,
    rates: Callable[[np.ndarray], np.ndarray],
) -> tuple[float, float]:
    """Take an epoch's steps; return mean cross-entropy and accuracy as training saw the images.

    Args:
        train_block: takes a block of steps, as `engine` makes it.
        optimizer: which counts them.
        batches: the images.
        rates: the learning rates at steps, counted from the start of the training.
    """
    sums, images = np.zeros(2), 0
    for x, y, n in batches.epoch():
        at = rates(int(optimizer.iterations) + np.arange(len(x)))
        with timed("steps"):
            sums += train_block(x, y, at, tf.constant(n)).numpy()
        images += n * x.shape[1]
    loss, accuracy = (sums / images).tolist()
    return loss, accuracy


def training_config(
    settings: Settings, hyperparameters: Hyperparameters, images: int
) -> TrainingConfig:
    """Return how to train the winner of the search on so many images.

    For `epochs` or `min_steps`, the longer of both; `train.learning_rate` replaces the search's.
    """
    if settings.train.learning_rate is not None:
        hyperparameters = hyperparameters.model_copy(
            update={"learning_rate": settings.train.learning_rate}
        )
    return TrainingConfig(
        hyperparameters=hyperparameters,
        fit=settings.fit,
        augment=settings.augment,
        epochs=settings.train_epochs(images),
        seed=settings.train.seed,
    )


def make_repeatable(seed: int) -> None:
    """Seed Python, NumPy and Keras, and choose operations that give the same bits every time."""
    tf.get_logger().setLevel("ERROR")  # it warns of new models, and some come here one by one
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def give_back_memory() -> None:
    """Return memory that compiling has freed, 100 MB, to the system; glibc would keep it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def open_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """Return the optimizer that the recipe names; of the weights only kernels decay.

    AdamW (arXiv:1711.05101), or SGD with Nesterov momentum.
    """
    hyperparameters = config.hyperparameters
    decay = hyperparameters.weight_decay
    options = {
        "learning_rate": hyperparameters.learning_rate,
        "weight_decay": config.fit.weight_decay if decay is None else decay,
    }
    if config.fit.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=0.9, nesterov=True, **options)
    else:
        optimizer = keras.optimizers.AdamW(**options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def learning_rates(config: TrainingConfig, steps: int, step: np.ndarray) -> np.ndarray:
    """Return the learning rate at each `step`, counted from 0, of `steps` in all; float32.

    Constant, or risen in a line and then lowered to 0 along half a cosine (arXiv:1608.03983).
    """
    highest = config.hyperparameters.learning_rate
    if config.fit.schedule == "constant":
        return np.full(len(step), highest, np.float32)
    warmup = int(config.fit.warmup_ratio * steps)
    along = np.clip((step - warmup) / (steps - warmup), 0, 1)
    rate = np.where(step < warmup, step / max(warmup, 1), (1 + np.cos(np.pi * along)) / 2)
    return (highest * rate).astype(np.float32)


def early_stopping(patience: int | None, model: keras.Model) -> keras.callbacks.Callback:
    stopping = keras.callbacks.Callback()
    if patience is not None:
        stopping = keras.callbacks.EarlyStopping(
            "val_loss", mode="min", patience=patience, restore_best_weights=True
        )
    stopping.set_model(model)
    model.stop_training = False  # which Keras' fit would set
    stopping.on_train_begin()
    return stopping


def kept_epoch(history: History, config: TrainingConfig) -> int:
    """Return the epoch whose weights stay, from 1: the best with patience, else the last."""
    losses = history["val_loss"]
    return len(losses) if config.fit.patience is None else int(np.argmin(losses)) + 1


def check_finite(figures: dict[str, float], epoch: int, config: TrainingConfig) -> None:
    if not np.isfinite([figures["loss"], figures["val_loss"]]).all():
        raise DivergedError(
            f"training diverged in epoch {epoch + 1}: the loss became NaN; lower "
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
    kept_epoch: int  # whose weights were kept, from 1
    weights: int  # numbers in the network
    versions: str  # of what trained it

    def __str__(self) -> str:
        return (
            f"train accuracy {self.train_accuracy:.4f}, val accuracy {self.val_accuracy:.4f}, "
            f"overfitting gap {self.overfitting_gap:.4f}"
        )


def summarize(training: Training, train: Dataset, val: Dataset) -> TrainingMetrics:
    with timed("validation"):
        (_, train_accuracy), (val_loss, val_accuracy) = map(training.score, (train, val))
    history = training.history
    return TrainingMetrics(
        train_accuracy=round(train_accuracy, 6),
        val_accuracy=round(val_accuracy, 6),
        overfitting_gap=round(train_accuracy - val_accuracy, 6),
        val_loss=round(val_loss, 6),
        history_gap=round(history["accuracy"][-1] - history["val_accuracy"][-1], 6),
        epochs=len(history["loss"]),
        kept_epoch=training.kept_epoch,
        weights=training.model.count_params(),
        versions=f"keras {keras.__version__}, tensorflow {tf.__version__}",
    )
