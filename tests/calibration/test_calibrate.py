"""What validation can show of probabilities, and what not."""

import numpy as np
import pytest

from k49.calibration.calibrate import fit_exponent, least_certain
from k49.tta import sharpen


def readings(n, classes):
    """Probabilities (n, classes), all of them too low, and labels that all are read correctly."""
    rng = np.random.default_rng(0)
    best = rng.uniform(0.55, 0.97, n)
    others = rng.dirichlet(np.full(classes - 1, 0.3), n) * (1 - best)[:, np.newaxis]
    labels = rng.integers(0, classes, n)
    probabilities = np.insert(others, 0, best, axis=1)
    places = (np.arange(classes) - labels[:, np.newaxis]) % classes
    probabilities = np.take_along_axis(probabilities, places, 1).astype(np.float32)
    return probabilities, labels


@pytest.mark.parametrize(("n", "classes"), [(18, 2), (150, 10), (6_000, 49)])
def test_probabilities_are_no_surer_than_so_many_images_can_show(n, classes):
    """Was: without an error an exponent of 12 to 15, and 0.57 became 0.98."""
    probabilities, labels = readings(n, classes)
    exponent = fit_exponent(probabilities, labels)
    assert 1 < exponent < 5
    unsure = 1 - sharpen(probabilities, exponent).max(1).mean()
    assert unsure > 0.5 / (n + 2)


def test_one_more_image_is_nothing_beside_many_errors():
    """Labels drawn from probabilities, of which the square roots are calibrated."""
    rng = np.random.default_rng(0)
    honest = rng.dirichlet(np.full(10, 0.2), 6_000) + 1e-6
    labels = (rng.random((6_000, 1)) > honest.cumsum(1) / honest.sum(1)[:, None]).sum(1)
    assert fit_exponent(np.sqrt(honest).astype(np.float32), labels) == pytest.approx(2, abs=0.06)


def test_all_but_two_percent_of_what_is_read_correctly_are_certain():
    """Was: of probabilities between 0.99996 and 1 none was, since that was rounded to 1."""
    rng = np.random.default_rng(0)
    best = 1 - rng.uniform(0, 4e-5, 1_000).astype(np.float32)
    probabilities = np.stack([best, 1 - best], 1)
    threshold = least_certain(probabilities, np.zeros(1_000, int))
    assert (best < threshold).mean() == pytest.approx(0.02, abs=0.01)
    assert (np.ones(3, np.float32) < least_certain(np.eye(2)[[0, 0]], np.zeros(2, int))).sum() == 0
