"""Random numbers of a step: even, and apart from those of other steps, seeds and streams."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import chisquare

from k49.training.augment import bits, dropout_mask

SHAPE = (256, 1024)
ONE = (49, 7, 1)  # seed, step, stream


def drawn(seed: int, step: int, stream: int) -> np.ndarray:
    return bits(SHAPE, tf.constant([seed, step], tf.int64), stream).numpy().ravel()


def evenness(numbers: np.ndarray) -> float:
    """The p-value of numbers of 0 to 255 being even: tiny if they are not."""
    return chisquare(np.bincount(numbers, minlength=256)).pvalue


@pytest.mark.parametrize("shift", [0, 8])
def test_each_byte_is_even(shift):
    assert evenness(drawn(*ONE) >> shift & 255) > 1e-4


@pytest.mark.parametrize("other", [(49, 8, 1), (50, 7, 1), (49, 7, 2), (49 + 2**30, 7, 1)])
def test_other_steps_seeds_and_streams_have_numbers_of_their_own(other):
    pairs = (drawn(*ONE) >> 12) * 16 + (drawn(*other) >> 12)
    assert evenness(pairs) > 1e-4


@pytest.mark.parametrize("apart", [1, 2, 64, 1024])
def test_neighbours_do_not_go_together(apart):
    highest = drawn(*ONE) >> 12
    assert evenness(highest[apart:] * 16 + highest[:-apart]) > 1e-4


def test_units_are_dropped_by_themselves_from_step_to_step():
    steps = [dropout_mask((64,), 0.5, tf.constant([1, step], tf.int64), 0) for step in range(500)]
    correlations = np.corrcoef(np.array(steps).T)
    np.fill_diagonal(correlations, 0)
    assert abs(correlations).max() < 5 / np.sqrt(500)
    assert np.array(steps).mean(0) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(500))


def test_odd_number_of_units():
    mask = dropout_mask((3, 5), 0.5, tf.constant([1, 1], tf.int64), 0).numpy()
    assert mask.shape == (3, 5)
    assert 0 < mask.sum() < 15
