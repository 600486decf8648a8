"""The hyperparameter search: Keras Tuner chooses, every trial trains as the winner will."""

import time
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from shutil import rmtree

import keras
import keras_tuner
import numpy as np
import scipy
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src import config as keras_tuner_config

from k49.data import Dataset
from k49.errors import K49Error
from k49.process import in_own_process
from k49.settings import (
    Hyperparameters,
    LogRange,
    SearchConfig,
    Settings,
    Space,
    TrainingConfig,
)
from k49.training.fit import DivergedError, fit

# The code that a search's result depends on: this room.
SOURCES = sorted(Path(__file__).parent.glob("*.py"))


@dataclass(frozen=True)
class SearchResult:
    """The winner, and a row for each trial in the order of the trials."""

    winner: Hyperparameters
    rows: list[dict]
    folder: Path  # of the trials: what a rerun would go on from, until `discard` removes it

    @property
    def metrics(self) -> dict:
        """How many trials, how many completed, and the best one's val_accuracy."""
        scores = [row["val_accuracy"] for row in self.rows if row["status"] == "completed"]
        return {
            "tune_trials": len(self.rows),
            "tune_completed": len(scores),
            "tune_val_accuracy": max(scores),
        }

    def __str__(self) -> str:
        best = self.metrics["tune_val_accuracy"]
        return f"best of {len(self.rows)} trials: val_accuracy {best:.4f} with {self.winner}"


def search(config: SearchConfig, train: Dataset, val: Dataset, scratch: Path) -> SearchResult:
    """Try `config.tune.trials` combinations; the one with the highest val_accuracy wins.

    An interrupted search goes on with the trial that it was at, and ends as an uninterrupted one.

    Args:
        config: what to choose from, how many trials of how many epochs, and the recipe of each.
        train, val: what each trial learns from, and what it is scored on.
        scratch: folder for unfinished searches; `discard` this one's part when its result is safe.

    Raises:
        K49Error: no trial could be completed, or memory ran out. Finished trials are kept then.
    """
    folder = scratch / fingerprint(config, train, val)
    keras_tuner_config.DEBUG = False  # no traceback for a failed trial: row() keeps the reason
    tuner = open_tuner(config, train, val, folder)
    try:
        tuner.search()
    except keras_tuner.errors.FatalError as fatal:
        raise explained(fatal.__cause__ or fatal, config) from fatal.__cause__
    trials = sorted(tuner.oracle.trials.values(), key=lambda trial: trial.trial_id)
    rows = [row(trial, config) for trial in trials]
    completed = [each for each in rows if each["status"] == "completed"]
    if not completed:
        rmtree(folder)
        raise K49Error(
            f"none of {len(rows)} trials was completed, nothing is published; trial 1: "
            f"{rows[0]['error']}. If trials diverge, lower "
            f"spaces.{config.tune.space}.learning_rate.max"
        )
    best = max(completed, key=lambda each: each["val_accuracy"])
    winner = Hyperparameters(**{key: best[key] for key in Hyperparameters.model_fields})
    return SearchResult(winner, rows, folder)


def discard(result: SearchResult) -> None:
    """Remove a search's trials: once its winner is on disk, and not before."""
    rmtree(result.folder)


def open_tuner(config: SearchConfig, train: Dataset, val: Dataset, folder: Path) -> "Tuner":
    """The search in `folder` as it was left; a damaged one is set aside, and a new one begun.

    Keras Tuner writes its files in place, so that a power cut or a full disk leaves half of one.
    """
    try:
        return Tuner(config, train, val, folder)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        if not folder.exists():
            raise
        aside = folder.with_name(f"{folder.name}.damaged")
        rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        why = " ".join(str(error).split())
        print(
            f"the unfinished search in {folder} is damaged ({why:.80}): kept as {aside.name}, "
            "and all trials run again",
            flush=True,
        )
        return Tuner(config, train, val, folder)


def explained(error: BaseException, config: SearchConfig) -> BaseException:
    """What stopped a search, in words if it was memory; a programming error as it is."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return K49Error(
            f"out of memory in a trial; the finished ones are kept, and `dvc repro` goes on. Lower "
            f"fit.batch_size, or layers.max and units.max of spaces.{config.tune.space}"
        )
    return error


def search_config(settings: Settings) -> SearchConfig:
    """How to search, in the space that `tune.space` names."""
    return SearchConfig(
        tune=settings.tune,
        space=settings.spaces[settings.tune.space],
        fit=settings.fit,
        augment=settings.augment,
    )


def trial_config(config: SearchConfig, found: Hyperparameters) -> TrainingConfig:
    """How one trial is trained: as the winner will be, but for its length and seed.

    All trials share the seed, so that they differ in nothing but what is searched.
    """
    return TrainingConfig(
        hyperparameters=found,
        fit=config.fit,
        augment=config.augment,
        epochs=config.tune.epochs,
        seed=config.tune.seed,
    )


def fingerprint(config: SearchConfig, train: Dataset, val: Dataset) -> str:
    """A name for one search: it changes with the settings, data, seed, versions and code."""
    digest = sha256(config.model_dump_json().encode())
    for dataset in (train, val):
        digest.update(dataset.images.data)
        digest.update(dataset.labels.data)
    for module in (keras, keras_tuner, np, scipy):
        digest.update(f"{module.__name__} {module.__version__}".encode())
    digest.update(f"{keras.backend.backend()} {backend_version()}".encode())
    for source in SOURCES:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def backend_version() -> str:
    """The version of what Keras computes with."""
    return import_module(keras.backend.backend()).__version__


def choose(hp: keras_tuner.HyperParameters, space: Space) -> Hyperparameters:
    """Ask Keras Tuner for one point of the space.

    All widths are declared, each only where its layer exists: otherwise the first trial gets
    defaults and the widths of layers that don't exist come along.
    """
    depths = list(range(space.layers.min, space.layers.max + 1, space.layers.step))
    depth = hp.Choice("layers", depths)
    units = []
    for i in range(space.searched_widths(max(depths))):
        with hp.conditional_scope("layers", [d for d in depths if d > i]):
            bounds = space.units.model_dump()
            value = hp.Int(f"units_{i}", bounds["min"], bounds["max"], step=bounds["step"])
            units.append(value)
    rate = choose_log(hp, "learning_rate", space.learning_rate)
    decay = choose_log(hp, "weight_decay", space.weight_decay) if space.weight_decay else None
    return Hyperparameters(
        network=space.network,
        units=space.widths(units, depth),
        activation=hp.Choice("activation", space.activation),
        initializer=hp.Choice("initializer", space.initializer),
        learning_rate=rate,
        weight_decay=decay,
    )


def choose_log(hp: keras_tuner.HyperParameters, name: str, bounds: LogRange) -> float:
    """A number from a logarithmic range, rounded to the six digits that are published."""
    return float(f"{hp.Float(name, bounds.min, bounds.max, sampling='log'):.6g}")


def score_trial(config: TrainingConfig, train: Dataset, val: Dataset) -> float:
    """The val_accuracy that decides: of the weights that training would keep."""
    return fit(config, train, val).kept("val_accuracy")


class Tuner(keras_tuner.RandomSearch):
    """Keras Tuner's random search with trials of our own: see `run_trial`."""

    def __init__(self, config: SearchConfig, train: Dataset, val: Dataset, folder: Path) -> None:
        self.config, self.train, self.val = config, train, val
        self.seconds: list[float] = []  # how long each trial of this process took
        super().__init__(
            hypermodel=lambda hp: choose(hp, config.space),
            objective="val_accuracy",
            max_trials=config.tune.trials,
            seed=config.tune.seed + 1,  # Keras Tuner takes 0 for "no seed"
            max_consecutive_failed_trials=config.tune.trials + 1,  # a failed trial doesn't end it
            directory=folder.parent,
            project_name=folder.name,
        )
        self.oracle.verbose = 0

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Train one combination; what ran before it makes no difference."""
        hyperparameters = choose(trial.hyperparameters, self.config.space)
        at = f"trial {int(trial.trial_id) + 1}/{self.config.tune.trials}"
        print(f"{at}  {hyperparameters}", flush=True)
        try:
            config = trial_config(self.config, hyperparameters)
            score = in_own_process(score_trial, config, self.train, self.val)
        except DivergedError as error:
            raise keras_tuner.errors.FailedTrialError("diverged: the loss became NaN") from error
        except Exception as error:  # Keras Tuner would go on with the next trial
            raise keras_tuner.errors.FatalError from error
        return {"val_accuracy": score}

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
        left = np.mean(self.seconds) * (self.config.tune.trials - int(trial.trial_id) - 1)
        score = f"val_accuracy {trial.score:.4f}" if trial.score is not None else "failed"
        best = max((t.score for t in self.oracle.trials.values() if t.score is not None), default=0)
        print(f"  {score}, best so far {best:.4f}  {seconds:.1f} s, about {left:.0f} s left")


def row(trial: Trial, config: SearchConfig) -> dict:
    """One trial as a row of `plots/trials.json`; without a score where it failed."""
    completed = trial.status == TrialStatus.COMPLETED
    hyperparameters = choose(trial.hyperparameters, config.space)
    return {
        "trial": int(trial.trial_id) + 1,
        "status": trial.status.lower(),
        "val_accuracy": round(trial.score, 6) if completed else None,
        "layers": len(hyperparameters.units),
        **hyperparameters.model_dump(),
        "error": None if completed else (trial.message or "").strip().rpartition("\n")[2],
    }
