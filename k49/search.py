"""The hyperparameter search: Keras Tuner chooses, every trial trains under a seed of its own."""

import time
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from shutil import rmtree

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src import config

from k49 import model
from k49.errors import K49Error
from k49.settings import Augment, Fit, Hyperparameters, LogRange, Section, Space, Tune
from k49.train import Arrays, fit, make_repeatable


def search(
    settings: Tune,
    space: Space,
    fitting: Fit,
    augment: Augment,
    train: Arrays,
    val: Arrays,
    seed: int,
    scratch: Path,
) -> tuple[Hyperparameters, list[dict]]:
    """Try `settings.trials` combinations; the one with the highest val_accuracy wins.

    An interrupted search goes on with the trial that it was at, and ends as an uninterrupted one.

    Args:
        settings: the number of trials, and the epochs of each.
        space: what to choose from.
        fitting, augment: how each trial is fitted, as in training.
        train, val: images and one-hot labels.
        seed: of the choice and of every trial.
        scratch: folder for unfinished searches; this one's part is removed when it is done.

    Returns:
        The winner, and a row for each trial in the order of the trials.

    Raises:
        K49Error: no trial could be completed.
    """
    folder = scratch / fingerprint((settings, space, fitting, augment), train, val, seed)
    config.DEBUG = False  # no traceback for a failed trial: row() keeps the reason
    tuner = Tuner(settings, space, fitting, augment, (train, val), seed, folder)
    tuner.search()
    trials = sorted(tuner.oracle.trials.values(), key=lambda trial: trial.trial_id)
    rows = [row(trial, space, seed) for trial in trials]
    completed = [each for each in rows if each["status"] == "completed"]
    rmtree(folder)
    if not completed:
        raise K49Error(
            f"none of {len(rows)} trials was completed, nothing is published; trial 1: "
            f"{rows[0]['error']}. If trials diverge, lower "
            f"spaces.{settings.space}.learning_rate.max"
        )
    best = max(completed, key=lambda each: each["val_accuracy"])
    return Hyperparameters(**{key: best[key] for key in Hyperparameters.model_fields}), rows


def fingerprint(settings: tuple[Section, ...], train: Arrays, val: Arrays, seed: int) -> str:
    """A name for one search: it changes with the settings, data, seed, versions and code."""
    digest = sha256(repr((seed, settings)).encode())
    for array in (*train, *val):
        digest.update(array)
    versions = {each.name: each.version for each in distributions()}
    for package in ("keras", "keras-tuner", "tensorflow", "tensorflow_cpu", "numpy"):
        digest.update(str(versions.get(package)).encode())
    for source in ("augment.py", "model.py", "search.py", "train.py", "warp.py"):
        digest.update(Path(__file__).with_name(source).read_bytes())
    return digest.hexdigest()[:16]


def choose(hp: keras_tuner.HyperParameters, space: Space) -> Hyperparameters:
    """Ask Keras Tuner for one point of the space.

    All layers' units are declared, each only where the layer exists: otherwise the first trial
    gets defaults and the units of layers that don't exist come along.
    """
    depths = list(range(space.layers.min, space.layers.max + 1, space.layers.step))
    depth = hp.Choice("layers", depths)
    units = []
    for i in range(max(depths)):
        with hp.conditional_scope("layers", [d for d in depths if d > i]):
            bounds = space.units.model_dump()
            value = hp.Int(f"units_{i}", bounds["min"], bounds["max"], step=bounds["step"])
            units.append(value)
    rate = choose_log(hp, "learning_rate", space.learning_rate)
    decay = choose_log(hp, "weight_decay", space.weight_decay) if space.weight_decay else None
    return Hyperparameters(
        units=units[:depth],
        activation=hp.Choice("activation", space.activation),
        initializer=hp.Choice("initializer", space.initializer),
        learning_rate=rate,
        weight_decay=decay,
    )


def choose_log(hp: keras_tuner.HyperParameters, name: str, bounds: LogRange) -> float:
    """A number from a logarithmic range, rounded to the six digits that are published."""
    return float(f"{hp.Float(name, bounds.min, bounds.max, sampling='log'):.6g}")


class Tuner(keras_tuner.RandomSearch):
    """Keras Tuner's random search with trials of our own: see `run_trial`."""

    def __init__(
        self,
        settings: Tune,
        space: Space,
        fitting: Fit,
        augment: Augment,
        arrays: tuple[Arrays, Arrays],
        seed: int,
        folder: Path,
    ) -> None:
        self.settings, self.space, self.fitting, self.augment = settings, space, fitting, augment
        self.arrays, self.base_seed = arrays, seed
        self.seconds: list[float] = []  # how long each trial of this process took
        super().__init__(
            hypermodel=lambda hp: choose(hp, space),
            objective="val_accuracy",
            max_trials=settings.trials,
            seed=seed + 1,  # Keras Tuner takes 0 for "no seed"
            max_consecutive_failed_trials=settings.trials + 1,  # a failed trial doesn't end it
            directory=folder.parent,
            project_name=folder.name,
        )
        self.oracle.verbose = 0

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Train one combination; its seed depends on its number alone, not on what ran before."""
        keras.utils.clear_session()
        seed = trial_seed(self.base_seed, trial)
        make_repeatable(seed)
        hyperparameters = choose(trial.hyperparameters, self.space)
        at = f"trial {int(trial.trial_id) + 1}/{self.settings.trials}"
        print(f"{at}  {hyperparameters}", flush=True)
        history = fit(
            model.build(hyperparameters, self.fitting.batch_normalization, dropout=0),
            *self.arrays,
            hyperparameters=hyperparameters,
            settings=self.fitting,
            augment=self.augment,
            epochs=self.settings.epochs,
            seed=seed,
            callbacks=[],
        )
        losses = [*history["loss"], *history["val_loss"]]
        if len(losses) < 2 * self.settings.epochs or not np.isfinite(losses).all():
            raise keras_tuner.errors.FailedTrialError("diverged: the loss became NaN")
        return {"val_accuracy": max(history["val_accuracy"])}

    def on_trial_begin(self, trial: Trial) -> None:
        """Start the clock of a trial."""
        self.start = time.perf_counter()
        super().on_trial_begin(trial)

    def on_trial_end(self, trial: Trial) -> None:
        """Record the trial, then say how good, what is best so far and how long still."""
        super().on_trial_end(trial)
        trial = self.oracle.trials[trial.trial_id]
        seconds = time.perf_counter() - self.start
        self.seconds.append(seconds)
        left = np.mean(self.seconds) * (self.settings.trials - int(trial.trial_id) - 1)
        score = f"val_accuracy {trial.score:.4f}" if trial.score is not None else "failed"
        best = max((t.score for t in self.oracle.trials.values() if t.score is not None), default=0)
        print(f"  {score}, best so far {best:.4f}  {seconds:.1f} s, about {left:.0f} s left")


def trial_seed(base_seed: int, trial: Trial) -> int:
    """The seed that a trial trains under."""
    return base_seed + 1 + int(trial.trial_id)


def row(trial: Trial, space: Space, base_seed: int) -> dict:
    """One trial as a row of `plots/trials.json`; without a score where it failed."""
    completed = trial.status == TrialStatus.COMPLETED
    hyperparameters = choose(trial.hyperparameters, space)
    return {
        "trial": int(trial.trial_id) + 1,
        "status": trial.status.lower(),
        "val_accuracy": round(trial.score, 6) if completed else None,
        "layers": len(hyperparameters.units),
        **hyperparameters.model_dump(),
        "seed": trial_seed(base_seed, trial),
        "error": None if completed else (trial.message or "").strip().rpartition("\n")[2],
    }
