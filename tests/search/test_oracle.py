"""What the oracles choose: the same for the same seed, and nothing but the space's own values."""

import json
from itertools import chain
from statistics import mean

import pytest

from k49.search.results import Outcome
from k49.search.tuner import BATCH, Oracle, planned_epochs
from tests.search.small import config


def searched(oracle):
    """All generations of an oracle that is told a score by the learning rate."""
    generations = []
    while trials := oracle.ask():
        generations.append(trials)
        oracle.tell(
            [
                Outcome(trial, "completed", 1 - trial.hyperparameters.learning_rate, trial.epochs)
                for trial in trials
            ]
        )
    return generations


@pytest.mark.parametrize("tuner", ["random", "hyperband", "bayesian"])
def test_same_seed_same_trials(tuner):
    settings = config(tuner=tuner, trials=6, epochs=9)
    one, again = (searched(Oracle(settings)) for _ in range(2))
    assert one == again
    assert one[0] != Oracle(config(tuner=tuner, trials=6, epochs=9, seed=1)).ask()
    trials = list(chain.from_iterable(one))
    assert [trial.number for trial in trials] == list(range(1, len(trials) + 1))
    assert [trial.epochs for trial in trials] == planned_epochs(settings)
    told = json.dumps([trial.hyperparameters.model_dump() for trial in trials])
    assert "tuner/" not in told


def test_random_is_one_generation():
    (trials,) = searched(Oracle(config(trials=14)))
    assert len(trials) == 14
    assert {trial.epochs for trial in trials} == {2}


def test_hyperband_trains_the_best_of_each_rung_for_longer():
    first, second, third = searched(Oracle(config(tuner="hyperband", epochs=9)))
    assert {trial.epochs for trial in first} == {1, 3, 9}
    for before, after in ((first, second), (second, third)):
        longer = [trial for trial in after if trial.epochs == 9]
        assert longer
        tried = {trial.hyperparameters.model_dump_json() for trial in before}
        assert all(trial.hyperparameters.model_dump_json() in tried for trial in after)
    rates = sorted(trial.hyperparameters.learning_rate for trial in first if trial.epochs == 1)
    kept = sorted(trial.hyperparameters.learning_rate for trial in second if trial.epochs == 3)
    assert kept == rates[: len(kept)], "the lowest rate has the highest score here"


def test_bayesian_goes_where_it_is_better():
    generations = searched(Oracle(config(tuner="bayesian", trials=10)))
    assert [len(trials) for trials in generations] == [BATCH, BATCH, 2]
    rates = [[trial.hyperparameters.learning_rate for trial in trials] for trials in generations]
    assert mean(rates[2]) < mean(rates[0])


@pytest.mark.parametrize("tuner", ["random", "hyperband", "bayesian"])
def test_failed_trials_do_not_end_a_search(tuner):
    oracle, n = Oracle(config(tuner=tuner, trials=12, epochs=9)), 0
    while trials := oracle.ask():
        n += len(trials)
        oracle.tell([Outcome(trial, "failed", None, 0, "diverged") for trial in trials])
    assert n >= 12
