"""The model: what it is made of, what it takes, and that its file is the same bytes every time."""

import time
import zipfile

import keras
import numpy as np
import pytest

from k49.errors import K49Error
from k49.training.model import (
    build_model,
    load_model,
    predict_plain_and_averaged,
    predict_proba,
    save_model,
)
from tests.helpers import PLAIN, SHAPE, SMALL_CNN, SMALL_MODEL, plain

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)


OUTPUT = ["Dense", "Softmax"]


def kinds(model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def changed(**changes):
    return SMALL_MODEL.model_copy(update=changes)


def test_layers_without_anything():
    model = build_model(SMALL_MODEL, PLAIN, *SHAPE)
    assert kinds(model) == [
        "InputLayer",
        "Rescaling",
        "Flatten",
        *["Dense", "Activation"] * 2,
        *OUTPUT,
    ]
    assert [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)] == [
        16,
        8,
        49,
    ]


def test_layers_with_batch_normalization_and_dropout():
    model = build_model(SMALL_MODEL, plain(batch_normalization=True, dropout=0.3), *SHAPE)
    hidden = ["Dense", "BatchNormalization", "Activation", "Dropout"]
    assert kinds(model) == ["InputLayer", "Rescaling", "Flatten", *hidden * 2, *OUTPUT]
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.use_bias for layer in dense] == [False, False, True]
    assert [layer.rate for layer in model.layers[6::4]] == [0.3, 0.3]


def test_layers_of_a_cnn():
    model = build_model(SMALL_CNN, plain(batch_normalization=True, dropout=0.3), *SHAPE)
    hidden = ["Conv2D", "BatchNormalization", "Activation"]
    block = [*hidden * 2, "AveragePooling2D", "Dropout"]
    assert kinds(model) == [
        "InputLayer",
        "Rescaling",
        *block * 2,
        "GlobalAveragePooling2D",
        *OUTPUT,
    ]
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [4, 4, 8, 8]
    assert not any(layer.use_bias for layer in convolutions)
    assert [layer.output.shape[1] for layer in convolutions] == [28, 28, 14, 14]


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "softmax"])
def test_activation_of_every_hidden_layer_and_softmax_at_the_end(activation):
    model = build_model(changed(activation=activation), PLAIN, *SHAPE)
    hidden = [layer for layer in model.layers if isinstance(layer, keras.layers.Activation)]
    assert [layer.activation.__name__ for layer in hidden] == [activation] * 2
    assert kinds(model)[-2:] == OUTPUT


@pytest.mark.parametrize(
    ("initializer", "limit"),
    [("he_uniform", np.sqrt(6 / 784)), ("glorot_uniform", np.sqrt(6 / (784 + 512)))],
)
def test_initializer(initializer, limit):
    keras.utils.set_random_seed(1)
    found = changed(units=[512], initializer=initializer)
    kernel = build_model(found, PLAIN, *SHAPE).layers[3].get_weights()[0]
    assert abs(kernel).max() == pytest.approx(limit, rel=1e-3)
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)


def test_scaling_is_part_of_the_model():
    """Raw uint8 images go in: 255 is 1 behind the first layer."""
    model = build_model(SMALL_MODEL, PLAIN, *SHAPE)
    np.testing.assert_allclose(np.asarray(model.layers[1](IMAGES)), IMAGES / 255, rtol=1e-6)


def test_probabilities():
    model = build_model(SMALL_MODEL, plain(batch_normalization=True, dropout=0.5), *SHAPE)
    found = predict_proba(model, IMAGES)
    assert found.shape == (5, 49)
    assert found.dtype == np.float32
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(found, predict_proba(model, IMAGES))  # no dropout in use


def test_shifts_are_averaged_and_what_they_push_out_is_lost():
    model = build_model(SMALL_MODEL, PLAIN, *SHAPE)
    copies = np.zeros((9, *IMAGES.shape), np.uint8)
    for i in range(9):
        down, right = i // 3 - 1, i % 3 - 1
        rows, columns = (slice(max(by, 0), 28 + min(by, 0)) for by in (down, right))
        from_rows, from_columns = (slice(max(-by, 0), 28 + min(-by, 0)) for by in (down, right))
        copies[i][:, rows, columns] = IMAGES[:, from_rows, from_columns]
    expected = np.mean([predict_proba(model, each) for each in copies], axis=0)
    found = predict_proba(model, IMAGES, shifts=1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    plain = predict_proba(model, IMAGES)
    assert abs(found - plain).max() > 1e-4
    both = predict_plain_and_averaged(model, IMAGES, shifts=1, exponent=1.0)
    np.testing.assert_array_equal(both, [plain, found])
    assert predict_plain_and_averaged(model, IMAGES, shifts=0, exponent=1.0)[1] is None


@pytest.mark.parametrize("network", [SMALL_MODEL, SMALL_CNN], ids=["mlp", "cnn"])
def test_saved_model_is_the_same_model(tmp_path, network):
    model = build_model(network, plain(batch_normalization=True, dropout=0.1), *SHAPE)
    save_model(model, tmp_path / "new" / "model.keras", {})
    again = load_model(tmp_path / "new" / "model.keras")
    alone = keras.saving.load_model(tmp_path / "new" / "model.keras")  # what README promises
    for loaded in (again, alone):
        found, expected = predict_proba(loaded, IMAGES), predict_proba(model, IMAGES)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.keras"]


@pytest.mark.slow
def test_saved_bytes_depend_on_the_model_alone(tmp_path):
    """Neither the time, nor what else was built, nor how it was compiled (was: its optimizer)."""

    def save(name):
        keras.utils.set_random_seed(3)
        model = build_model(SMALL_MODEL, plain(batch_normalization=True, dropout=0.1), *SHAPE)
        if name == "compiled":
            model.compile("adam", "categorical_crossentropy")
        save_model(model, tmp_path / name, {})
        return (tmp_path / name).read_bytes()

    first = save("first")
    time.sleep(2.1)  # zip archives count in steps of two seconds
    assert save("again") == first
    assert save("compiled") == first
    with zipfile.ZipFile(tmp_path / "first") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_no_such_model(tmp_path):
    with pytest.raises(K49Error, match="no such model"):
        load_model(tmp_path / "none.keras")


def test_not_a_model(tmp_path):
    path = tmp_path / "text.keras"
    path.write_text("no model")
    with pytest.raises(K49Error, match="not a Keras model") as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_model_of_another_shape(tmp_path):
    other = keras.Sequential([keras.Input((10,)), keras.layers.Dense(3)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(K49Error, match=r"expected gray images \(N, height, width, 1\)"):
        load_model(tmp_path / "other.keras")


@pytest.mark.parametrize("network", [SMALL_MODEL, SMALL_CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 20, 1), (64, 9, 1)])
def test_any_size_and_number_of_classes(tmp_path, network, shape):
    model = build_model(network, plain(batch_normalization=True), shape, 200)
    save_model(model, tmp_path / "model.keras", {})
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    found = predict_proba(load_model(tmp_path / "model.keras"), images, shifts=1)
    assert found.shape == (3, 200)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_images_that_can_not_be_halved_so_often():
    deep = SMALL_CNN.model_copy(update={"units": [2, 4, 8, 16]})
    with pytest.raises(K49Error, match=r"4 layers, 3 at most: .* 8 x 20 pixels"):
        build_model(deep, PLAIN, (8, 20, 1), 3)
