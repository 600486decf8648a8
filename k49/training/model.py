"""The multilayer perceptron: raw uint8 images in, 49 probabilities out."""

import json
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from keras import layers

from k49.data import IMAGE_SHAPE, NUM_CLASSES, pieces
from k49.errors import K49Error
from k49.files import atomic_write
from k49.settings import Fit, Hyperparameters

ORIGIN = "k49.json"  # in the archive: what the model was trained on, and how
# Of batch normalization's running means. Keras' default of 0.99 still holds 15 % of its first guess
# after 190 steps, as short as a trial of the search may be; at 0.9 it is 2e-9.
MOMENTUM = 0.9
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time stamp that a zip archive can carry


def build_model(hyperparameters: Hyperparameters, fit: Fit) -> keras.Model:
    """An untrained, uncompiled multilayer perceptron.

    Takes images (N, 28, 28, 1) uint8, 0 to 255, and returns probabilities (N, 49) float32: scaling
    is a layer of the model, so that nobody can serve it wrongly.
    """
    model = keras.Sequential(name="mlp")
    model.add(keras.Input(IMAGE_SHAPE, dtype="uint8", name="image"))
    model.add(layers.Rescaling(1 / 255, name="scale"))
    model.add(layers.Flatten(name="flatten"))
    for i, units in enumerate(hyperparameters.units):
        model.add(
            layers.Dense(
                units,
                kernel_initializer=hyperparameters.initializer,
                use_bias=not fit.batch_normalization,  # which has a bias of its own
                name=f"hidden_{i}",
            )
        )
        if fit.batch_normalization:
            name = f"normalization_{i}"
            model.add(layers.BatchNormalization(momentum=MOMENTUM, name=name))
        model.add(layers.Activation(hyperparameters.activation, name=f"activation_{i}"))
        if fit.dropout:
            model.add(layers.Dropout(fit.dropout, name=f"dropout_{i}"))
    model.add(layers.Dense(NUM_CLASSES, name="logits"))
    model.add(layers.Softmax(name="probabilities"))
    return model


def save_model(model: keras.Model, path: Path, origin: dict) -> None:
    """Save a model, without its optimizer, as a `.keras` archive of the same bytes every time.

    Keras writes the time and memory addresses into the archive; both are taken out here, and
    `origin` is put in, what `read_origin` returns.
    """
    inference = model.from_config(model.get_config())  # not compiled: no optimizer in the file
    inference.set_weights(model.get_weights())
    with TemporaryDirectory() as folder, atomic_write(path) as tmp:
        original = Path(folder, "original.keras")
        inference.save(original)
        with zipfile.ZipFile(original) as source, zipfile.ZipFile(tmp, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name.endswith(".json"):
                    content = _canonical(content)
                target.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), content)
            target.writestr(zipfile.ZipInfo(ORIGIN, ZIP_EPOCH), json.dumps(origin, indent=1))


def _canonical(content: bytes) -> bytes:
    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            dropped = {"date_saved", "shared_object_id"}
            return {key: clean(item) for key, item in value.items() if key not in dropped}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return json.dumps(clean(json.loads(content)), sort_keys=True).encode()


def load_model(path: Path) -> keras.Model:
    """Load a saved model; code in the file is not run.

    Raises:
        K49Error: there is no such file, or it is no model of this kind.
    """
    if not path.is_file():
        raise K49Error(f"{path}: no such model")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its parts raise
        why = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise K49Error(f"{path}: not a Keras model that is safe to load: {why}") from error
    if model.input_shape[1:] != IMAGE_SHAPE or model.output_shape[1:] != (NUM_CLASSES,):
        raise K49Error(
            f"{path}: takes {model.input_shape} and returns {model.output_shape}, expected "
            f"(N, 28, 28, 1) and (N, {NUM_CLASSES})"
        )
    return model


def read_origin(path: Path) -> dict:
    """What a model was trained on and how, as it was saved with it; empty if nothing was."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(ORIGIN))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return {}


def predict_proba(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Probabilities (N, 49) float32 of images (N, 28, 28, 1) uint8."""
    return np.concatenate([model.predict_on_batch(images[piece]) for piece in pieces(len(images))])
