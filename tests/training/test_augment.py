"""Distortion: what training sees, and what validation and users never see."""

import numpy as np
import pytest

from k49.settings import Augment
from k49.stage import load_settings
from tests.helpers import PARAMS

AUGMENT = load_settings(PARAMS).augment

NOTHING = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0, "elastic": 0.0}


def settings(**changes) -> Augment:
    return AUGMENT.model_copy(update={**NOTHING, **changes})


def blob(row: int, column: int, size: int = 5) -> np.ndarray:
    image = np.zeros((28, 28, 1), np.uint8)
    image[row - size // 2 : row + size // 2 + 1, column - size // 2 : column + size // 2 + 1] = 200
    return image


def centre(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(float)
    at = np.indices(weight.shape).reshape(2, -1)
    return (at * weight.ravel()).sum(1) / weight.sum()


def varied(image: np.ndarray, number: int = 400, seed: int = 1, **changes) -> np.ndarray:
    from k49.training.augment import variations

    originals_first = variations(image[np.newaxis], settings(**changes), number, seed)
    assert originals_first.shape == (1, 1 + number, 28, 28, 1)
    assert (originals_first[0, 0] == image).all()
    return originals_first[0, 1:]


def test_nothing_switched_on_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    assert (varied(image, 8) == image).all()


def test_switched_off_as_a_whole():
    from k49.training.augment import variations

    image = blob(10, 10)
    off = AUGMENT.model_copy(update={"enabled": False})
    assert (variations(image[np.newaxis], off, 4, 1) == image).all()


def distorted_by(seed: int, step: int) -> np.ndarray:
    from k49.training.augment import Distort

    return Distort(AUGMENT, (28, 28))(np.stack([blob(9, 12)] * 4), np.array([seed, step])).numpy()


def test_any_step_can_be_repeated():
    """Random numbers have no state: seed and step alone say what they are."""
    assert (distorted_by(1, 7) == distorted_by(1, 7)).all()
    for seed, step in [(1, 8), (2, 7), (7, 1)]:
        assert (distorted_by(1, 7) != distorted_by(seed, step)).any()


def test_each_image_is_distorted_in_a_way_of_its_own():
    batch = np.stack([blob(9, 12)] * 4)
    distorted = distorted_by(1, 0)
    assert distorted.dtype == np.uint8
    assert distorted.shape == batch.shape
    assert len({image.tobytes() for image in distorted}) == 4


def test_shift_stays_within_its_range_and_uses_it():
    moved = np.array([centre(image) for image in varied(blob(14, 14), shift=3.0)]) - 14
    assert abs(moved).max() < 3.05
    assert abs(moved).max() > 2.5
    assert abs(moved.mean(0)).max() < 0.4


def test_rotation_turns_around_the_middle():
    moved = np.array([centre(image) for image in varied(blob(14, 22), rotation=0.3)])
    distance = np.linalg.norm(moved - 13.5, axis=1)
    assert abs(distance - np.linalg.norm([0.5, 8.5])).max() < 0.3
    angle = np.arctan2(*(moved - 13.5).T) - np.arctan2(0.5, 8.5)
    assert 0.2 < abs(angle).max() < 0.33


def test_scale_keeps_the_middle():
    moved = np.array([centre(image) for image in varied(blob(14, 22), scale=0.2)])
    assert abs(moved[:, 0] - 14).max() < 0.3
    assert (moved[:, 1].min(), moved[:, 1].max()) == pytest.approx(
        (13.5 + 8.5 / 1.2, 13.5 + 8.5 / 0.8), abs=0.8
    )


def test_elastic_basis_looks_the_same_from_every_side():
    """Was: off by half a pixel, so that one side moved more than the other."""
    from k49.training.augment import elastic_basis

    basis = elastic_basis(5, (28, 28)).reshape(28, 28, 5, 5)
    np.testing.assert_allclose(basis[::-1, :, ::-1], basis, atol=1e-6)
    np.testing.assert_allclose(basis.transpose(1, 0, 3, 2), basis, atol=1e-6)
    np.testing.assert_allclose(basis.sum((2, 3)), 1, atol=1e-6)


def test_elastic_bends_smoothly():
    image = np.zeros((28, 28, 1), np.uint8)
    image[:, 13:15] = 255  # a line stays one piece: every row keeps about its ink
    bent = varied(image, 100, elastic=1.0)
    assert bent[:, 4:-4].sum(2).min() > 150
    assert any(abs(b.astype(int) - image.astype(int)).max() > 100 for b in bent)


def test_elastic_is_the_standard_deviation_of_a_control_point():
    from k49.training.augment import Distort, elastic_basis

    bent = Distort(settings(elastic=0.7), (28, 28))
    moved = np.stack(bent.coordinates(4000, np.array([1, 0])))
    expected = 0.7 * np.sqrt((elastic_basis(AUGMENT.elastic_grid, (28, 28)) ** 2).sum(1))
    inner = np.arange(784).reshape(28, 28)[5:-5, 5:-5].ravel()  # away from where it is clipped
    found = moved[..., inner].std(1)
    assert found == pytest.approx(np.stack([expected[inner]] * 2), rel=0.05)
    assert np.corrcoef(moved[0, :, 400], moved[1, :, 400])[0, 1] == pytest.approx(0, abs=0.06)


def test_seed():
    image = blob(10, 10)
    one, again, other = (varied(image, 4, seed, shift=2.0) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


@pytest.mark.parametrize("size", [(8, 8), (16, 20), (64, 9)])
def test_images_of_any_size(size):
    """A bright spot at the lower right end stays there, or thereabouts."""
    from k49.training.augment import variations

    image = np.zeros((1, *size, 1), np.uint8)
    image[0, size[0] - 4 : size[0] - 1, size[1] - 4 : size[1] - 1] = 255
    found = variations(image, settings(shift=1.0, elastic=0.3), 50, seed=3)[0, 1:, ..., 0]
    assert found.shape == (50, *size)
    weight = found.reshape(50, -1).astype(float)
    assert (weight.sum(1) > 0).all()
    rows, columns = (axis.ravel() for axis in np.indices(size))
    assert abs(weight @ rows / weight.sum(1) - (size[0] - 3)).max() < 2.5
    assert abs(weight @ columns / weight.sum(1) - (size[1] - 3)).max() < 2.5
    still = variations(image, settings(), 2, seed=3)
    assert (still == image).all()


# random erasing


def bright(n=400):
    """Bright images."""
    images = np.full((n, 20, 16, 1), 200, np.uint8)
    images[:, 0, 0, 0] = np.arange(n) % 256
    return images


def augmented(seed=1, **changes):
    from k49.training.augment import augmentation

    change = augmentation(settings(**changes), (20, 16))
    return np.asarray(change(bright(), np.array([seed, 0])))


def test_off_by_default_and_then_nothing_changes():
    assert np.array_equal(augmented(), bright())


def test_random_erasing():
    """A rectangle is black, in the wanted share of images, and of the wanted area."""
    images = augmented(erasing=0.4)
    black = images[..., 0] == 0
    black[:, 0, 0] = False
    erased = black.any((1, 2))
    assert erased.mean() == pytest.approx(0.4, abs=0.08)
    assert np.array_equal(images[~erased], bright()[~erased])
    area = black[erased].mean((1, 2))
    assert area.max() < 0.25
    assert 0.05 < area.mean() < 0.15
    for each in black[erased]:
        rows, columns = np.nonzero(each)
        tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert each.sum() in (tall * wide, tall * wide - 1), "a rectangle, but for the first pixel"
    assert not np.array_equal(images, augmented(erasing=0.4, seed=2))
