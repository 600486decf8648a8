"""Training: each ingredient of a recipe does what its name says."""

import keras
import numpy as np
import pytest

from k49.data import Dataset, one_hot
from k49.settings import TrainingConfig
from k49.stage import load_settings
from k49.training import engine
from k49.training.fit import (
    DivergedError,
    fit,
    learning_rates,
    open_optimizer,
    summarize,
    training_config,
)
from tests.helpers import NO_AUGMENT, PARAMS, PLAIN, SMALL_MODEL, bars

pytestmark = pytest.mark.slow

CONFIG = TrainingConfig(
    hyperparameters=SMALL_MODEL,
    fit=PLAIN,
    augment=NO_AUGMENT,
    epochs=2,
    seed=1,
)


def config(**changes) -> TrainingConfig:
    """CONFIG with some values replaced, those of its sections included."""
    sections = {}
    for name in ("fit", "hyperparameters", "augment"):  # a weight decay is the recipe's
        section = getattr(CONFIG, name)
        inside = {key: changes.pop(key) for key in list(changes) if hasattr(section, key)}
        sections[name] = section.model_copy(update=inside)
    return CONFIG.model_copy(update={**sections, **changes})


def noise(number: int, seed: int) -> Dataset:
    """Random images with random labels: nothing that validation could gain from."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (number, 28, 28, 1), dtype=np.uint8)
    return Dataset(images, one_hot(rng.integers(0, 49, number), 49))


@pytest.fixture(scope="module")
def train():
    return bars(4, seed=0)


@pytest.fixture(scope="module")
def val():
    return bars(2, seed=1)


@pytest.fixture(autouse=True)
def without_xla(monkeypatch):
    """Whose compiling takes longer than all that these tests compute; test_engine.py is with it."""
    monkeypatch.setattr(engine, "xla_pays", lambda model: False)


@pytest.fixture(autouse=True)
def nothing_left():
    """Graphs of earlier trainings slow down later ones."""
    yield
    keras.utils.clear_session()


def cross_entropy(model, dataset: Dataset) -> float:
    return -np.log(model.predict(dataset.images, verbose=0)[dataset.labels == 1]).mean()


def weights(model) -> np.ndarray:
    return np.concatenate([each.ravel() for each in model.get_weights()])


# what a training is made of


def test_config_is_of_the_settings_and_of_what_was_found():
    settings = load_settings(PARAMS)
    found = training_config(settings, SMALL_MODEL, 100)
    assert found.hyperparameters == SMALL_MODEL
    assert (found.fit, found.augment) == (settings.fit, settings.augment)
    assert found.seed == settings.train.seed


@pytest.mark.parametrize(
    ("images", "min_steps", "epochs"),
    [
        (6400, 0, 20),  # 100 batches an epoch
        (6400, 2000, 20),
        (6400, 2001, 21),
        (6401, 2100, 21),  # the rest of an epoch begins the next
        (10, 25, 25),  # all images a batch
        (10, 10_000_000, 10_000),
    ],
)
def test_few_images_are_seen_often_enough(images, min_steps, epochs):
    settings = load_settings(PARAMS)
    train = settings.train.model_copy(update={"epochs": 20, "min_steps": min_steps})
    fit = settings.fit.model_copy(update={"batch_size": 64})
    found = settings.model_copy(update={"train": train, "fit": fit})
    assert training_config(found, SMALL_MODEL, images).epochs == epochs


def test_learning_rate_of_train_replaces_the_searchs():
    settings = load_settings(PARAMS)
    changed = settings.train.model_copy(update={"learning_rate": 0.5})
    found = training_config(settings.model_copy(update={"train": changed}), SMALL_MODEL, 100)
    assert found.hyperparameters == SMALL_MODEL.model_copy(update={"learning_rate": 0.5})


# the schedule


def rates(steps: int, **changes) -> np.ndarray:
    """The learning rate of each step, for a highest one of 1."""
    return learning_rates(config(learning_rate=1.0, **changes), steps, np.arange(steps + 1))


def test_constant_schedule():
    assert (rates(10) == 1.0).all()


def test_cosine_schedule():
    found = rates(100, schedule="cosine")
    np.testing.assert_allclose(found, (1 + np.cos(np.pi * np.arange(101) / 100)) / 2, atol=1e-6)


def test_warmup_rises_in_a_line_and_then_the_cosine_takes_over():
    found = rates(100, schedule="cosine", warmup_ratio=0.2)
    np.testing.assert_allclose(found[:21], np.arange(21) / 20, atol=1e-6)
    np.testing.assert_allclose(found[20:], (1 + np.cos(np.pi * np.arange(81) / 80)) / 2, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_warmup_of_less_than_a_step_is_none(steps):
    found = rates(steps, schedule="cosine", warmup_ratio=0.05)
    assert found[0] == pytest.approx(1.0)
    assert found[-1] == pytest.approx(0.0, abs=1e-6)


def test_schedule_ends_with_the_last_step(train, val, monkeypatch):
    """Three epochs of 196 images are 11 steps of 50: an epoch's rest is part of the next."""
    made = []
    original = keras.optimizers.AdamW
    monkeypatch.setattr(
        keras.optimizers,
        "AdamW",
        lambda *args, **kw: made.append(original(*args, **kw)) or made[-1],
    )
    recipe = config(schedule="cosine", batch_size=50, epochs=3)
    fit(recipe, train, val)
    assert int(made[0].iterations) == 11
    assert float(made[0].learning_rate) == learning_rates(recipe, 11, np.array([10]))


# weight decay


def decayed(steps: int = 5, **changes) -> dict[str, np.ndarray]:
    """By what factor each kind of weight shrinks in steps without a gradient."""
    layer_weights = {
        name: keras.Variable(np.ones((3, 3)), name=name)
        for name in ("kernel", "bias", "gamma", "beta")
    }
    chosen = open_optimizer(config(**changes))
    chosen.build(list(layer_weights.values()))
    for _ in range(steps):
        chosen.apply([keras.ops.zeros((3, 3))] * 4, list(layer_weights.values()))
    return {name: np.asarray(variable)[0, 0] for name, variable in layer_weights.items()}


def test_weight_decay_shrinks_kernels_alone():
    found = decayed(weight_decay=0.1, learning_rate=0.01)
    assert found["kernel"] == pytest.approx((1 - 0.1 * 0.01) ** 5, rel=1e-6)
    assert found["bias"] == found["gamma"] == found["beta"] == 1


def test_no_weight_decay_shrinks_nothing():
    assert set(decayed(weight_decay=0.0).values()) == {1}


def test_weight_decay_that_the_search_found_replaces_the_recipes():
    recipe = config(weight_decay=0.1)
    found = recipe.hyperparameters.model_copy(update={"weight_decay": 0.5})
    assert open_optimizer(recipe).weight_decay == 0.1
    assert open_optimizer(recipe.model_copy(update={"hyperparameters": found})).weight_decay == 0.5


# the loss


def test_label_smoothing_is_in_the_loss_of_training(train, val):
    """What minimizes the loss gives the true class 0.5, and its part of the other 0.5."""
    learnt = {"units": [64], "learning_rate": 0.01, "epochs": 300, "batch_size": 196}
    model = fit(config(**learnt, label_smoothing=0.5), train, val).model
    sure = model.predict(train.images, verbose=0)[train.labels == 1]
    assert sure.mean() == pytest.approx(0.5 + 0.5 / 49, abs=0.02)


def test_logged_loss_is_the_plain_cross_entropy_whatever_the_smoothing(train, val):
    """Was: the smoothed one, so that the curves of two recipes showed different quantities."""
    still = {"learning_rate": 1e-9, "epochs": 1, "batch_size": 196}
    plain = fit(config(**still), train, val)
    told = []
    recipe = config(**still, label_smoothing=0.2)
    smoothed = fit(recipe, train, val, on_epoch=told.append).history
    for name in ("loss", "val_loss"):
        assert smoothed[name] == pytest.approx(plain.history[name], rel=1e-5)
        assert told[0][name] == smoothed[name][0]
    assert smoothed["val_loss"][0] == pytest.approx(cross_entropy(plain.model, val), rel=1e-4)


# early stopping


def test_patience_stops_and_the_best_weights_come_back():
    """Noise can be learnt by heart only, so that val_loss soon rises."""
    train, other = noise(98, 1), noise(98, 2)
    training = fit(config(epochs=60, patience=3), train, other)
    history = training.history
    best = int(np.argmin(history["val_loss"]))
    assert len(history["val_loss"]) == best + 1 + 3 < 60
    assert training.kept_epoch == best + 1
    kept = cross_entropy(training.model, other)
    assert kept == pytest.approx(history["val_loss"][best], rel=1e-4)
    assert kept < history["val_loss"][-1]


def test_without_patience_every_epoch_is_run_and_told_and_the_last_weights_stay():
    train, other = noise(98, 1), noise(98, 2)
    told = []
    training = fit(config(epochs=10), train, other, on_epoch=told.append)
    history = training.history
    assert len(history["val_loss"]) == training.kept_epoch == 10
    assert min(history["val_loss"]) < history["val_loss"][-1], "else this test says nothing"
    assert cross_entropy(training.model, other) == pytest.approx(history["val_loss"][-1], rel=1e-4)
    assert all(set(figures) == {"loss", "accuracy", "val_loss", "val_accuracy"} for figures in told)
    assert [figures["val_loss"] for figures in told] == history["val_loss"]


# divergence


@pytest.mark.parametrize(("epochs", "patience"), [(1, None), (3, 2)])
def test_divergence_is_said(train, val, epochs, patience):
    with pytest.raises(DivergedError, match=r"epoch 1: .* NaN; lower train\.learning_rate"):
        fit(config(learning_rate=1e38, epochs=epochs, patience=patience), train, val)


# what a model sees and what it becomes


def test_learns(train, val):
    training = fit(config(epochs=25, learning_rate=0.02), train, val)
    assert summarize(training, train, val).train_accuracy > 0.9
    history = training.history
    assert history["loss"][-1] < history["loss"][0] / 2


def test_batch_normalization_has_seen_the_data(train, val):
    model = fit(config(batch_normalization=True, epochs=5), train, val).model
    (layer, *_) = (each for each in model.layers if "normalization" in each.name)
    assert abs(np.asarray(layer.moving_mean)).max() > 0
    assert (np.asarray(layer.moving_variance) != 1).all()


def test_distortion_changes_what_is_learnt_and_leaves_the_images_alone(train, val):
    before = train.images.copy(), train.labels.copy()
    distorted = fit(config(enabled=True, shift=3.0, label_smoothing=0.1), train, val).model
    plain = fit(config(label_smoothing=0.1), train, val).model
    assert not np.array_equal(weights(distorted), weights(plain))
    assert np.array_equal(train.images, before[0])
    assert np.array_equal(train.labels, before[1])


def test_seed(train, val):
    chance = {"enabled": True, "shift": 2.0, "dropout": 0.3, "epochs": 1}
    one, again, other = (
        weights(fit(config(**chance, seed=seed), train, val).model) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


# the summary


def test_summary_is_of_the_kept_weights_without_dropout(train, val):
    training = fit(config(epochs=4, dropout=0.5), train, val)
    model, history = training.model, training.history
    found = summarize(training, train, val)
    accuracy = {}
    for split, dataset in (("train", train), ("val", val)):
        probabilities = model.predict(dataset.images, verbose=0)
        accuracy[split] = np.mean(probabilities.argmax(1) == dataset.labels.argmax(1))
        assert getattr(found, f"{split}_accuracy") == pytest.approx(accuracy[split], abs=1e-6)
    assert found.val_loss == pytest.approx(cross_entropy(model, val), abs=1e-4)
    # of the accuracies before they are rounded: afterwards their difference may be further off
    gap = accuracy["train"] - accuracy["val"]
    assert found.overfitting_gap == pytest.approx(gap, abs=1e-6)
    assert found.history_gap == pytest.approx(
        history["accuracy"][-1] - history["val_accuracy"][-1], abs=1e-6
    )
    assert f"overfitting gap {found.overfitting_gap:.4f}" in str(found)
    assert found.epochs == 4
    assert found.kept_epoch == 4
