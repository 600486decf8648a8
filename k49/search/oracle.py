"""Keras Tuner's oracles, asked and told: they choose, and neither run nor write anything."""

import warnings
from collections.abc import Iterator
from itertools import islice

import k49.training  # noqa: F401  sets Keras up, before Keras Tuner imports it

# isort: split
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from k49.search.space import choose
from k49.search.trials import Outcome, Trial
from k49.settings import SearchConfig

# How many trials a Gaussian process chooses at once, each beside guesses at the others. A constant,
# not the number of workers: what is tried must not depend on it.
BATCH = 4
INITIAL_SHARE = 1 / 3  # of bayesian's trials, drawn at random; Keras Tuner's 3 a dimension are all
MANY = 10**6


class Oracle:
    """A tuner's choice of trials, a generation at a time.

    What a generation holds depends on the results of those before it and on nothing else, so the
    same seed gives the same trials for any number of workers: random is one generation, hyperband
    one for each rung, bayesian one for every BATCH trials.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.oracle = open_oracle(config)
        self.asked: dict[int, KerasTunerTrial] = {}

    def ask(self) -> list[Trial]:
        """Return the next generation; empty when the search is over."""
        most = BATCH if self.config.tune.tuner == "bayesian" else MANY
        # One thread: quicker for so little, and the same digits on any number of processors
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # of a process fitted to few points
            return list(islice(self._each(), most))

    def _each(self) -> Iterator[Trial]:
        while True:
            asked = self.oracle.create_trial(str(len(self.asked)))
            if asked.status != TrialStatus.RUNNING:  # over, or it wants to be told first
                return
            number = len(self.asked) + 1
            self.asked[number] = asked
            yield Trial(
                number=number,
                hyperparameters=choose(asked.hyperparameters, self.config.space),
                epochs=asked.hyperparameters.values.get("tuner/epochs", self.config.tune.epochs),
            )

    def tell(self, outcomes: list[Outcome]) -> None:
        """Tell Keras Tuner the outcomes of a generation."""
        for outcome in outcomes:
            trial = self.asked[outcome.trial.number]
            if outcome.score is None:
                trial.status, trial.message = TrialStatus.FAILED, outcome.error
            else:
                self.oracle.update_trial(trial.trial_id, {"val_accuracy": outcome.score})
                trial.status = TrialStatus.COMPLETED
            self.oracle.end_trial(trial)


def open_oracle(config: SearchConfig) -> RandomSearchOracle | HyperbandOracle:
    """Return Keras Tuner's oracle of the chosen kind, over the whole space."""
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
    """Return `kind` without the files that it would write: the journal is what has to last."""
    return type(
        kind.__name__, (kind,), {"save": lambda self: None, "_save_trial": lambda self, trial: None}
    )


def planned_epochs(config: SearchConfig) -> list[int]:
    """Return the epochs of each trial that a search has, if none fails.

    Hyperband's trials, and how long each is trained, follow from `tune.epochs` alone.
    """
    if config.tune.tuner != "hyperband":
        return [config.tune.epochs] * config.tune.trials
    oracle, epochs = Oracle(config), list[int]()
    while trials := oracle.ask():
        oracle.tell([Outcome(trial, "completed", 0.0, trial.epochs) for trial in trials])
        epochs += [trial.epochs for trial in trials]
    return epochs
