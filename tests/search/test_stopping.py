"""The median rule: the same trials stopped after the same epoch, in whatever order figures come."""

import numpy as np

from k49.search.stopping import NEEDED, MedianStopping

GOOD = [0.5, 0.6, 0.7]


def stopped(curves, order=None):
    """What the rule says of curves that are known from the start, or come epoch by epoch."""
    stopping = MedianStopping()
    for number, epoch in order or [(n, len(curve)) for n, curve in enumerate(curves, start=1)]:
        curve = curves[number - 1]
        stopping.add(number, curve[:epoch], finished=epoch == len(curve))
        stopping.to_stop()
    return stopping.to_stop()


def test_trial_below_the_median_is_stopped_and_the_others_are_not():
    bad = [0.1, 0.2, 0.9]
    assert stopped([GOOD, GOOD, GOOD, bad, GOOD]) == {4: 1}
    assert stopped([GOOD] * 4) == {}
    late = [0.5, 0.51, 0.52]
    assert stopped([GOOD, GOOD, GOOD, late]) == {4: 2}, "0.51 is below the mean of 0.5 and 0.6"


def test_the_first_trials_are_never_stopped():
    bad = [0.1, 0.1, 0.1]
    assert stopped([GOOD] * (NEEDED - 1) + [bad]) == {}
    assert stopped([GOOD] * NEEDED + [bad]) == {NEEDED + 1: 1}


def test_stopped_trial_counts_only_as_far_as_it_got():
    """Else what is stopped would depend on whether a trial ran on before it was known."""
    falls = [0.1, 0.95, 0.95]  # stopped after its first epoch
    middling = [0.5, 0.56, 0.7]
    curves = [GOOD, GOOD, GOOD, falls, middling]
    assert stopped(curves) == {4: 1}


def test_order_makes_no_difference():
    random = np.random.default_rng(0)
    for _ in range(20):
        curves = (random.random((8, 1)) + random.random((8, 6)) / 4).tolist()
        expected = stopped(curves)
        assert expected
        order = [(number, epoch) for number in range(1, 9) for epoch in range(1, 7)]
        keys = {number: random.random() for number in range(1, 9)}
        at = sorted(order, key=lambda each: each[1] + 6 * keys[each[0]] * random.integers(2))
        seen = dict.fromkeys(keys, 0)
        ordered = []
        for number, _ in at:  # each trial's epochs in their order, trials in any
            seen[number] += 1
            ordered.append((number, seen[number]))
        assert stopped(curves, ordered) == expected


def test_a_finished_trial_with_a_shorter_curve_is_not_waited_for():
    stopping = MedianStopping()
    for number, curve in enumerate([[0.5, 0.9]] * 3 + [[0.5]], start=1):  # the last one diverged
        stopping.add(number, curve, finished=True)
    stopping.add(5, [0.6, 0.6], finished=False)
    assert stopping.to_stop() == {5: 2}, "0.6 is below the running means of 0.7"
