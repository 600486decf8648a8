"""Networks: what is built, what is searched of them, and one from outside."""

import sys

import keras
import numpy as np
import pytest

from k49 import settings
from k49.errors import K49Error
from k49.settings import Space
from k49.stage import load_settings
from k49.training import networks
from k49.training.model import build_model, load_model, predict_proba, save_model
from tests.helpers import PARAMS, PLAIN, SHAPE, SMALL_MODEL, plain

SPACES = load_settings(PARAMS).spaces
OWN = """
from keras import layers

def mine(x, hp, fit):
    for units in hp.units:
        x = layers.Dense(units, activation=hp.activation)(x)
    return layers.Flatten()(x)
"""


def space(name: str, **changes) -> Space:
    return Space.model_validate({**SPACES[name].model_dump(), **changes})


def check(name: str, trials=1, size=(28, 28), **changes) -> str:
    """The text of a refusal of a space."""
    with pytest.raises(K49Error) as caught:
        networks.check_space(name, space(name, **changes), trials, size)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def bounds(low, high, step=1):
    return {"min": low, "max": high, "step": step}


@pytest.mark.parametrize("name", SPACES)
def test_spaces_of_params_are_their_networks(name):
    networks.check_space(name, SPACES[name], 10, (28, 28))


def test_more_halvings_than_pixels():
    said = check("cnn", layers=bounds(1, 5))
    assert said.startswith("spaces.cnn.layers.max: 5 layers, 4 at most: each halves the images of")
    assert "3 at most" in check("cnn", size=(8, 64))
    networks.check_space("report", SPACES["report"], 1, (8, 8))  # which halves nothing


def test_more_filters_than_layers_may_have():
    said = check("cnn", units=bounds(16, 2048, 16))
    assert said.startswith("spaces.cnn: units.max is 2048, which 4 layers double to 16384")


def test_doubling_network_has_one_width_to_choose():
    """So that more blocks are no more combinations than one."""
    rate = {"min": 0.1, "max": 0.1}
    said = check("cnn", trials=4, units=bounds(16, 32, 8), learning_rate=rate)
    assert said == "tune.trials: 4 trials, but spaces.cnn has only 3 combinations"


def test_hog_sees_which_way_the_image_brightens_and_how_much():
    """And keeps to it: nothing of that is trained."""
    hog = SMALL_MODEL.model_copy(update={"network": "hog"})
    model = build_model(hog, PLAIN, *SHAPE)
    rows, columns = np.mgrid[:28, :28]
    images = np.stack([5 * columns, 200 - 5 * columns, 5 * rows, 3 * (rows + columns)])
    cells = keras.Model(model.inputs, model.get_layer("cells").output)
    found = np.asarray(cells(images[..., np.newaxis].astype(np.uint8)))[:, 1:-1, 1:-1]
    assert found.shape == (4, 7, 7, 8)
    assert np.ptp(found, axis=(1, 2)).max() < 1e-6  # the same slope everywhere
    right, left, down, diagonal = found[:, 3, 3]
    slope, half = 10 / 255, 10 / 255 / 2**0.5  # of two pixels
    np.testing.assert_allclose(right, [slope, half, 0, 0, 0, 0, 0, half], atol=1e-6)
    np.testing.assert_allclose(left, np.roll(right, 4), atol=1e-6)
    np.testing.assert_allclose(down, np.roll(right, 2), atol=1e-6)
    assert diagonal.argmax() == 1
    (fixed,) = model.non_trainable_variables
    assert fixed is model.get_layer("gradients").kernel
    assert fixed.shape == (3, 3, 1, 8)


def test_resnet_adds_what_comes_in():
    """With all its convolutions zero, a stage of equal width is the identity."""
    found = SMALL_MODEL.model_copy(update={"network": "resnet", "units": [4, 8]})
    model = build_model(found, plain(batch_normalization=True, dropout=0.2), *SHAPE)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("Conv2D") == 1 + 4 + 4 + 1  # the stem, two stages, one to widen
    assert kinds.count("Add") == 4
    assert kinds.count("BatchNormalization") == 9
    assert kinds.count("Dropout") == 4
    inner = keras.Model(model.get_layer("hidden_stem").output, model.get_layer("add_0_1").output)
    for name in ("hidden_0_0b", "hidden_0_1b"):
        kernel = model.get_layer(name).kernel
        kernel.assign(np.zeros(kernel.shape))
    x = np.random.default_rng(0).normal(size=(2, 28, 28, 4)).astype(np.float32)
    np.testing.assert_allclose(inner(x), x, atol=1e-6)


def test_resnet_reads_as_keras_does(tmp_path):
    found = SMALL_MODEL.model_copy(update={"network": "resnet", "units": [4, 8]})
    model = build_model(found, plain(batch_normalization=True), *SHAPE)
    save_model(model, tmp_path / "model.keras", {})
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
    expected = np.asarray(model(images))
    np.testing.assert_allclose(predict_proba(model, images), expected, atol=1e-5)
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(predict_proba(again, images), expected, atol=1e-5)


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module of somebody's own, written by a function."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text):
        (tmp_path / "somebodys.py").write_text(text)
        sys.modules.pop("somebodys", None)

    yield write
    sys.modules.pop("somebodys", None)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("return layers.Conv2D(3, 3)(layers.Flatten()(x))", "FILE, line 4: ValueError: Input 0"),
        ("layers.Flatten()(x)", "returns NoneType, expected a tensor"),
    ],
)
def test_error_in_somebodys_network_is_theirs(outside, tmp_path, line, says):
    """Was: "a bug in k49", for which they were asked to report their own slip."""
    outside(f"from keras import layers\n\ndef mine(x, hp, fit):\n    {line}\n")
    with pytest.raises(K49Error) as caught:
        build_model(SMALL_MODEL.model_copy(update={"network": "somebodys:mine"}), PLAIN, *SHAPE)
    says = says.replace("FILE", str(tmp_path / "somebodys.py"))
    assert str(caught.value).startswith(f"network somebodys:mine: {says}")


def test_function_of_somebodys_own(outside):
    outside(OWN)
    found = SMALL_MODEL.model_copy(update={"network": "somebodys:mine"})
    model = build_model(found, PLAIN, *SHAPE)
    assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [16, 8, 49]
    assert networks.load("somebodys:mine").widths([3, 4, 5], 2) == [3, 4]


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("", "nobodys:mine", "ModuleNotFoundError: No module named 'nobodys'"),
        ("", "somebodys:mine", "AttributeError: module 'somebodys' has no attribute 'mine'"),
        ("def mine(:", "somebodys:mine", "FILE, line 1: SyntaxError: invalid syntax"),
        ("\n1 / 0", "somebodys:mine", "FILE, line 2: ZeroDivisionError: division by zero"),
    ],
)
def test_network_that_can_not_be_imported(outside, tmp_path, text, name, says):
    outside(text)
    with pytest.raises(K49Error) as caught:
        networks.load(name)
    says = says.replace("FILE", str(tmp_path / "somebodys.py"))
    assert str(caught.value).startswith(f"network {name}: {says}")
    assert len(str(caught.value).splitlines()) == 1


def test_settings_know_the_networks_that_come_with_the_project():
    """Settings are checked before Keras is imported, so that names stand there, too."""
    assert set(networks.NETWORKS) == set(settings.NETWORKS)
