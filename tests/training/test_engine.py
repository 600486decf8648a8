"""The training step: it does what Keras would do, and any step can be repeated."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from k49.settings import Augment, TrainingConfig
from k49.training.engine import (
    compile_score_block,
    compile_train_block,
    forward,
    normalize,
    xla_pays,
)
from k49.training.fit import open_optimizer
from k49.training.model import build_model, predict_proba
from tests.helpers import NO_AUGMENT, PLAIN, SHAPE, SMALL_CNN, SMALL_MODEL, bars, plain

pytestmark = pytest.mark.slow

SMALL_RESNET = SMALL_CNN.model_copy(update={"network": "resnet"})
SMALL_HOG = SMALL_MODEL.model_copy(update={"network": "hog"})
K, B = 4, 49
DATA = bars(K, seed=0)
IMAGES, LABELS = DATA.images.reshape(K, B, 28, 28, 1), DATA.labels.reshape(K, B, 49)
RATES = np.array([1e-2, 5e-3, 2e-3, 1e-3], np.float32)


def config(augment: Augment = NO_AUGMENT, seed: int = 3, **recipe) -> TrainingConfig:
    found = recipe.pop("found", SMALL_MODEL)
    return TrainingConfig(
        hyperparameters=found, fit=plain(**recipe), augment=augment, epochs=1, seed=seed
    )


def steady_adamw(settings: TrainingConfig) -> keras.optimizers.Optimizer:
    """AdamW that doesn't make whole steps of gradients that are all rounding."""
    optimizer = open_optimizer(settings)
    optimizer.epsilon = 1e-2
    return optimizer


def trained(settings: TrainingConfig, *blocks: slice):
    """A model after the steps of each block, and the sums that came back."""
    keras.utils.set_random_seed(1)
    model, optimizer = (
        build_model(settings.hyperparameters, settings.fit, *SHAPE),
        steady_adamw(settings),
    )
    optimizer.build(model.trainable_variables)
    train_block = compile_train_block(model, optimizer, settings)
    sums = []
    for block in blocks:
        n = len(IMAGES[block])
        filled = [np.zeros_like(each) for each in (IMAGES, LABELS, RATES)]
        for target, source in zip(filled, (IMAGES, LABELS, RATES), strict=True):
            target[:n] = source[block]
        sums.append(train_block(*filled, tf.constant(n)).numpy())
    return model, np.sum(sums, 0)


def weights(model) -> np.ndarray:
    return np.concatenate([each.ravel() for each in model.get_weights()])


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"batch_normalization": True, "weight_decay": 0.1},
        {"label_smoothing": 0.2, "weight_decay": 0.1},
        {"found": SMALL_CNN, "batch_normalization": True, "weight_decay": 0.1},
        {"found": SMALL_RESNET, "batch_normalization": True},
        {"found": SMALL_HOG, "batch_normalization": True, "weight_decay": 0.1},
        {"optimizer": "sgd", "weight_decay": 0.1},
    ],
    ids=str,
)
def test_steps_are_those_of_keras(recipe):
    settings = config(**recipe)
    model, (loss, right) = trained(settings, slice(None))

    keras.utils.set_random_seed(1)
    reference = build_model(settings.hyperparameters, settings.fit, *SHAPE)
    reference.compile(
        steady_adamw(settings),
        keras.losses.CategoricalCrossentropy(label_smoothing=settings.fit.label_smoothing),
        metrics=["accuracy", "categorical_crossentropy"],
    )
    logged = []
    for images, labels, rate in zip(IMAGES, LABELS, RATES, strict=True):
        reference.optimizer.learning_rate.assign(rate)
        reference.reset_metrics()
        logged.append(reference.train_on_batch(images, labels, return_dict=True))
    np.testing.assert_allclose(weights(model), weights(reference), atol=1e-5)
    plain_losses = [each["categorical_crossentropy"] for each in logged]
    assert loss == pytest.approx(sum(plain_losses) * B, rel=1e-4)
    assert right == round(sum(each["accuracy"] for each in logged) * B)


def test_normalization_of_another_axis_is_that_of_keras():
    """Was: 0.127 of probability apart, where height and channels are equally many."""
    x = keras.Input((8, 8, 1), dtype="uint8")
    y = keras.layers.Conv2D(8, 1)(keras.layers.Rescaling(1 / 255)(x))
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization(axis=1)(y))
    model = keras.Model(x, keras.layers.Softmax(name="probabilities")(keras.layers.Dense(5)(y)))
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.2, 2, w.shape) for w in model.get_weights()])
    images = random.integers(0, 256, (4, 8, 8, 1), np.uint8)
    assert predict_proba(model, images) == pytest.approx(model.predict(images, verbose=0), abs=1e-5)


@pytest.mark.parametrize("size", [(3, 3), (2, 5)])
def test_convolution_that_is_not_trained_goes_to_xla_and_is_keras(size):
    def network(**changes):
        options = {"padding": "same", "use_bias": False, "activation": "tanh", "trainable": False}
        x = keras.Input((8, 9, 1))
        y = keras.layers.Conv2D(4, size, **options | changes)(x)
        return keras.Model(x, keras.layers.Softmax()(keras.layers.Flatten()(y)))

    model = network()
    assert xla_pays(model)
    images = np.random.default_rng(0).random((3, 8, 9, 1)).astype(np.float32)
    found, expected = (forward(model, images, xla=xla) for xla in (True, False))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    others = [{"trainable": True}, {"strides": 2}, {"use_bias": True}, {"padding": "valid"}]
    assert not any(xla_pays(network(**changes)) for changes in others)


@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D", "SeparableConv2D"])
def test_networks_with_convolutions_do_not_go_to_xla(kind):
    """Was: Depthwise- and SeparableConv2D did, forty times as slow."""
    x = keras.Input((8, 8, 1))
    layer = getattr(keras.layers, kind)
    y = layer(kernel_size=3)(x) if kind == "DepthwiseConv2D" else layer(2, 3)(x)
    assert not xla_pays(keras.Model(x, y))


@pytest.mark.parametrize("training", [True, False])
def test_normalization_is_that_of_keras(training):
    random = np.random.default_rng(1)
    x = tf.constant(random.normal(3, 2, (6, 5, 4, 3)), tf.float32)
    into, start = random.normal(size=x.shape), [random.uniform(1, 2, 3) for _ in range(4)]
    found = []
    for way in (normalize, lambda layer, x, training: layer(x, training=training)):
        layer = keras.layers.BatchNormalization(momentum=0.8)
        layer.build(x.shape)
        layer.set_weights(start)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = way(layer, x, training)
            loss = tf.reduce_sum(y * into)
        gradients = tape.gradient(loss, [x, *layer.trainable_variables])
        found.append([y.numpy(), *(each.numpy() for each in gradients), *layer.get_weights()])
    for ours, of_keras in zip(*found, strict=True):
        np.testing.assert_allclose(ours, of_keras, atol=1e-5, rtol=1e-5)
    assert (found[0][-1] != start[-1].astype(np.float32)).all() == training, "the running variance"


def test_blocks_of_any_length_take_the_same_steps():
    settings = config(dropout=0.3, batch_normalization=True)
    whole, sums = trained(settings, slice(0, 4))
    parts, sums_of_parts = trained(settings, slice(0, 3), slice(3, 4), slice(4, 4))
    assert (weights(whole) == weights(parts)).all()
    np.testing.assert_allclose(sums, sums_of_parts, rtol=1e-6)


def test_random_numbers_are_of_seed_and_step():
    recipe = {"dropout": 0.3}
    one, same, other = (weights(trained(config(seed=s, **recipe), slice(2))[0]) for s in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def dropped(seed: int, step: int, *rates: float) -> np.ndarray:
    """What dropout layers leave of a layer that returns ones alone, of 2,000 images."""
    layers = [keras.layers.Dropout(rate) for rate in rates]
    model = keras.Sequential([keras.Input((100,)), *layers, keras.layers.Softmax()])
    return forward(model, tf.ones((2000, 100)), tf.constant([seed, step], tf.int64)).numpy()


def test_dropout_leaves_out_its_share_and_makes_up_for_it():
    found = dropped(1, 1, 0.25)
    assert set(np.unique(found)) == {np.float32(0), np.float32(1) / np.float32(0.75)}
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.005)
    assert found.mean(0).std() < 0.03, "no unit is left out more often than another"
    assert (found != dropped(1, 2, 0.25)).any()
    assert (found != dropped(2, 1, 0.25)).any()


def test_layers_drop_out_apart_from_each_other():
    assert (dropped(1, 1, 0.5, 0.5) == 0).mean() == pytest.approx(0.75, abs=0.01)


def test_distortion_is_inside_the_step():
    shift = NO_AUGMENT.model_copy(update={"enabled": True, "shift": 3.0})
    still, moved = (weights(trained(config(augment=a), slice(1))[0]) for a in (NO_AUGMENT, shift))
    assert (still != moved).any()


def test_score_counts_images_with_a_label_alone():
    model = build_model(SMALL_MODEL, PLAIN, *SHAPE)
    images, labels = DATA.images, DATA.labels.copy()
    labels[100:] = 0
    loss, right = compile_score_block(model)(images, labels).numpy()
    probabilities = model.predict(images[:100], verbose=0)
    truth = labels[:100] == 1
    assert loss == pytest.approx(-np.log(probabilities[truth]).sum(), rel=1e-4)
    assert right == (probabilities.argmax(1) == labels[:100].argmax(1)).sum()
