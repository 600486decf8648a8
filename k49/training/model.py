"""The model: raw uint8 images in, a probability of each class out; and its file."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from keras import layers

from k49.data import chunks
from k49.errors import K49Error, is_out_of_memory, place_of
from k49.model_file import check_archive, write_archive
from k49.progress import tracked
from k49.settings import SIDES, Fit, Hyperparameters
from k49.training import networks
from k49.training.engine import SCORED_AT_ONCE, compile_predict
from k49.tta import averaged, plain_and_averaged, sharpen


def build_model(
    hyperparameters: Hyperparameters, fit: Fit, image_shape: tuple[int, int, int], classes: int
) -> keras.Model:
    """Build an untrained, uncompiled network.

    Takes images (N, *image_shape) uint8, 0 to 255, and returns probabilities (N, classes) float32:
    scaling is a layer of the model, so that it can't be forgotten.
    """
    network = networks.load(hyperparameters.network)
    network.check_depth(len(hyperparameters.units), image_shape[:2])
    image = keras.Input(image_shape, dtype="uint8", name="image")
    scaled = layers.Rescaling(1 / 255, name="scale")(image)
    try:
        hidden = network.hidden(scaled, hyperparameters, fit)  # first: weights are drawn in order
    except Exception as error:  # whatever somebody's own network raises
        if is_out_of_memory(error):
            raise
        raise K49Error(
            f"network {hyperparameters.network}: {place_of(error)}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(hidden, keras.KerasTensor):
        raise K49Error(
            f"network {hyperparameters.network}: returns {type(hidden).__name__}, expected a tensor"
        )
    logits = layers.Dense(classes, name="logits")(hidden)
    probabilities = layers.Softmax(name="probabilities")(logits)
    name = re.sub(r"\W", "_", hyperparameters.network)
    return keras.Model(image, probabilities, name=name)


def save_model(model: keras.Model, path: Path, parts: Mapping[str, bytes]) -> None:
    """Save a model, without its optimizer, and parts, as `model_file.write_archive` does."""
    inference = model.from_config(model.get_config())  # not compiled: no optimizer in the file
    inference.set_weights(model.get_weights())
    with TemporaryDirectory() as folder:
        saved = Path(folder, "saved.keras")
        inference.save(saved)
        write_archive(saved, path, parts)


def load_model(path: Path) -> keras.Model:
    """Load a saved model; code in the file is not run.

    Raises:
        K49Error: there is no such file, or it is no model of this kind.
    """
    config, size = check_archive(path)
    try:
        if (needed := weight_bytes(config)) > size:
            raise ValueError(f"its weights would take {needed:,} bytes, and {size:,} are there")
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        shapes = model.input_shape, model.output_shape  # not every model has them
    except Exception as error:  # Keras raises whatever its parts raise
        why = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise K49Error(f"{path}: not a Keras model that is safe to load: {why}") from error
    match shapes:
        case (None, int(height), int(width), 1), (None, int()):
            if height in SIDES and width in SIDES:
                return model
    raise K49Error(
        f"{path}: takes {shapes[0]} and returns {shapes[1]}, expected gray images "
        f"(N, height, width, 1), {SIDES[0]} to {SIDES[-1]} pixels both ways, and (N, classes)"
    )


def layer_outputs(model: keras.Model, names: list[str], images: np.ndarray) -> list[np.ndarray]:
    """Return the outputs of the named layers for a few images (N, H, W, 1) uint8, by Keras."""
    outputs = [model.get_layer(name).output for name in names]
    values = keras.Model(model.inputs, outputs)([images])
    return [np.asarray(value) for value in (values if isinstance(values, list) else [values])]


def weight_bytes(config: bytes) -> int:
    """Return how many bytes the weights of a network take, without making them."""
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(json.loads(config), safe_mode=True)
        return sum(
            math.prod(weight.shape) * np.dtype(weight.dtype).itemsize for weight in model.weights
        )


def in_batches(function: Callable[[np.ndarray], Any], images: np.ndarray) -> np.ndarray:
    """Apply a function to images (N, H, W, 1), SCORED_AT_ONCE at a time; return its (N, ...)."""
    parts = list(chunks(len(images), SCORED_AT_ONCE))
    shown = tracked(parts, f"reading images, batches of {SCORED_AT_ONCE}")
    return np.concatenate([np.asarray(function(images[part])) for part in shown])


def predict_proba(
    model: keras.Model, images: np.ndarray, shifts: int = 0, exponent: float = 1.0
) -> np.ndarray:
    """Return probabilities (N, C) float32 of images (N, H, W, 1) uint8.

    With `shifts`, means over the image moved by up to so many pixels, both ways: nine with 1; then
    raised to `exponent` by `sharpen`.
    """
    compiled = compile_predict(model)
    mean = in_batches(lambda x: averaged(lambda copy: compiled(copy).numpy(), x, shifts), images)
    return sharpen(mean, exponent)


def predict_plain_and_averaged(
    model: keras.Model, images: np.ndarray, shifts: int, exponent: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what `predict_proba` does without shifts and with them; None without any.

    In one pass, which is a tenth shorter: the image is one of the copies that are averaged.
    """
    compiled = compile_predict(model)

    def both(batch: np.ndarray) -> np.ndarray:
        read = plain_and_averaged(lambda copy: compiled(copy).numpy(), batch, shifts)
        return np.stack(read, axis=1)

    plain, mean = np.moveaxis(in_batches(both, images), 1, 0)
    return plain, sharpen(mean, exponent) if shifts else None
