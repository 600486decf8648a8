"""Keras Tuner's oracles, asked and told: they choose trials, and neither run nor write anything."""

import math
import warnings
from collections.abc import Iterator
from itertools import islice

import k49.training  # noqa: F401  sets Keras up, before Keras Tuner imports it

# isort: split
import keras_tuner
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from k49.search.results import Outcome, Trial
from k49.settings import Hyperparameters, LogRange, SearchConfig, Space
from k49.training import networks

# How many trials a Gaussian process chooses at once, each with guesses at the others. A constant,
# not the number of workers: which trials are tried must not depend on it.
BATCH = 4
INITIAL_SHARE = 1 / 3  # of bayesian's trials, drawn at random; Keras Tuner's 3 a dimension are all
MANY = 10**6


class Oracle:
    """A tuner's choice of trials, a generation at a time.

    A generation depends on the results of those before it and on nothing else, so the same seed
    gives the same trials for any number of workers: random is one generation, hyperband one for
    each rung, bayesian one for every BATCH trials.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.oracle = open_oracle(config)
        self.trials: dict[int, KerasTunerTrial] = {}

    def ask(self) -> list[Trial]:
        """Return the next generation; empty when the search is over."""
        most = BATCH if self.config.tune.tuner == "bayesian" else MANY
        # One thread: quicker for so little, and the same digits on any number of processors
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # of a process fitted to few points
            return list(islice(self._each(), most))

    def _each(self) -> Iterator[Trial]:
        while True:
            trial = self.oracle.create_trial(str(len(self.trials)))
            if trial.status != TrialStatus.RUNNING:  # over, or it wants to be told first
                return
            number = len(self.trials) + 1
            self.trials[number] = trial
            yield Trial(
                number=number,
                hyperparameters=choose(trial.hyperparameters, self.config.space),
                epochs=trial.hyperparameters.values.get("tuner/epochs", self.config.tune.epochs),
            )

    def tell(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            trial = self.trials[outcome.trial.number]
            if outcome.score is None:
                trial.status, trial.message = TrialStatus.FAILED, outcome.error
            else:
                self.oracle.update_trial(trial.trial_id, {"val_accuracy": outcome.score})
                trial.status = TrialStatus.COMPLETED
            self.oracle.end_trial(trial)


def open_oracle(config: SearchConfig) -> RandomSearchOracle | HyperbandOracle:
    tune = config.tune
    common = {
        "objective": "val_accuracy",
        "seed": tune.seed + 1,  # Keras Tuner takes 0 for "no seed"
        "max_consecutive_failed_trials": MANY,  # failed trials don't end a search
    }
    if tune.tuner == "random":
        oracle = _without_files(RandomSearchOracle)(max_trials=tune.trials, **common)
    elif tune.tuner == "bayesian":
        initial = max(3, round(tune.trials * INITIAL_SHARE))
        oracle = _without_files(BayesianOptimizationOracle)(
            max_trials=tune.trials, num_initial_points=initial, **common
        )
    else:
        oracle = _without_files(HyperbandOracle)(max_epochs=tune.epochs, **common)
    oracle.verbose = 0
    space = oracle.get_space()
    choose(space, config.space)
    oracle.update_space(space)
    return oracle


def _without_files(kind: type) -> type:
    """Return `kind` without the files that it would write: `results` has all that must last."""
    return type(
        kind.__name__, (kind,), {"save": lambda self: None, "_save_trial": lambda self, trial: None}
    )


def planned_epochs(config: SearchConfig) -> list[int]:
    """Return the epochs of each trial of a search in which none fails.

    Hyperband's trials, and how long each is trained, follow from `tune.epochs` alone.
    """
    if config.tune.tuner != "hyperband":
        return [config.tune.epochs] * config.tune.trials
    oracle, epochs = Oracle(config), list[int]()
    while trials := oracle.ask():
        oracle.tell([Outcome(trial, "completed", 0.0, trial.epochs) for trial in trials])
        epochs += [trial.epochs for trial in trials]
    return epochs


def middle(space: Space) -> Hyperparameters:
    """Return the middle of each range, of two the lower, and the first of each list."""
    depth, width = (
        bounds.values[(len(bounds.values) - 1) // 2] for bounds in (space.layers, space.units)
    )
    network = networks.load(space.network)
    units = [width] * network.searched_widths(depth)
    decay = space.weight_decay
    return Hyperparameters(
        network=space.network,
        units=network.widths(units, depth),
        activation=space.activation[0],
        initializer=space.initializer[0],
        learning_rate=middle_log(space.learning_rate),
        weight_decay=None if decay is None else middle_log(decay),
    )


def middle_log(bounds: LogRange) -> float:
    return rounded(math.sqrt(bounds.min * bounds.max))


def choose(hp: keras_tuner.HyperParameters, space: Space) -> Hyperparameters:
    """Ask Keras Tuner for one point of a space.

    All widths are declared, each only where its layer exists: otherwise the first trial gets
    defaults and the widths of layers that don't exist come along.
    """
    depths = list(space.layers.values)
    network, depth = networks.load(space.network), hp.Choice("layers", depths)
    units = []
    for i in range(network.searched_widths(max(depths))):
        with hp.conditional_scope("layers", [d for d in depths if d > i]):
            bounds = space.units.model_dump()
            value = hp.Int(f"units_{i}", bounds["min"], bounds["max"], step=bounds["step"])
            units.append(value)
    rate = choose_log(hp, "learning_rate", space.learning_rate)
    decay = choose_log(hp, "weight_decay", space.weight_decay) if space.weight_decay else None
    return Hyperparameters(
        network=space.network,
        units=network.widths(units, depth),
        activation=hp.Choice("activation", space.activation),
        initializer=hp.Choice("initializer", space.initializer),
        learning_rate=rate,
        weight_decay=decay,
    )


def choose_log(hp: keras_tuner.HyperParameters, name: str, bounds: LogRange) -> float:
    return rounded(hp.Float(name, bounds.min, bounds.max, sampling="log"))


def rounded(number: float) -> float:
    """Round to the six digits that are published."""
    return float(f"{number:.6g}")
