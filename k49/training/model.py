"""The networks, mlp and cnn: raw uint8 images in, a probability of each class out."""

import json
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from keras import layers

from k49.data import chunks
from k49.errors import K49Error
from k49.files import atomic_write
from k49.settings import Fit, Hyperparameters, Provenance
from k49.training.engine import SCORED_AT_ONCE, compile_predict

# Of batch normalization's running means. Keras' default of 0.99 still holds 15 % of its first guess
# after 190 steps, as short as a trial of the search may be; at 0.9 it is 2e-9.
MOMENTUM = 0.9
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time stamp that a zip archive can carry


def build_model(
    hyperparameters: Hyperparameters, fit: Fit, image_shape: tuple[int, int, int], classes: int
) -> keras.Model:
    """Build an untrained, uncompiled network.

    Takes images (N, *image_shape) uint8, 0 to 255, and returns probabilities (N, classes) float32:
    scaling is a layer of the model, so that nobody can serve it wrongly.
    """
    check_blocks_fit(hyperparameters.network, len(hyperparameters.units), image_shape[:2])
    hidden = {"mlp": mlp, "cnn": cnn}[hyperparameters.network]
    return keras.Sequential(
        [
            keras.Input(image_shape, dtype="uint8", name="image"),
            layers.Rescaling(1 / 255, name="scale"),
            *hidden(hyperparameters, fit),
            layers.Dense(classes, name="logits"),
            layers.Softmax(name="probabilities"),
        ],
        name=hyperparameters.network,
    )


def mlp(hyperparameters: Hyperparameters, fit: Fit) -> Iterator[keras.Layer]:
    """Yield dense layers, one after the other."""
    yield layers.Flatten(name="flatten")
    for i, units in enumerate(hyperparameters.units):
        dense = layers.Dense(units, name=f"hidden_{i}", **weights(hyperparameters, fit))
        yield from activated(dense, hyperparameters, fit)
        if fit.dropout:
            yield layers.Dropout(fit.dropout, name=f"dropout_{i}")


def check_blocks_fit(network: str, blocks: int, size: Sequence[int]) -> None:
    """Refuse a network that halves images of a size (height, width) more often than can be.

    Raises:
        K49Error: it does.
    """
    most = int(math.log2(min(size)))
    if network == "cnn" and blocks > most:
        raise K49Error(
            f"a cnn of {blocks} blocks, {most} at most: each halves the images of {size[0]} x "
            f"{size[1]} pixels; lower layers.max of the space"
        )


def cnn(hyperparameters: Hyperparameters, fit: Fit) -> Iterator[keras.Layer]:
    """Yield blocks of two 3 x 3 convolutions that halve the image; then the pixels' mean."""
    for i, filters in enumerate(hyperparameters.units):
        for part in "ab":
            same = {"padding": "same", "name": f"hidden_{i}{part}"}
            convolution = layers.Conv2D(filters, 3, **same, **weights(hyperparameters, fit))
            yield from activated(convolution, hyperparameters, fit)
        yield layers.AveragePooling2D(2, name=f"pool_{i}")
        if fit.dropout:
            yield layers.Dropout(fit.dropout, name=f"dropout_{i}")
    yield layers.GlobalAveragePooling2D(name="mean")


def weights(hyperparameters: Hyperparameters, fit: Fit) -> dict[str, Any]:
    """Return a layer's options for its weights; batch normalization has a bias of its own."""
    bias = not fit.batch_normalization
    return {"kernel_initializer": hyperparameters.initializer, "use_bias": bias}


def activated(layer: keras.Layer, found: Hyperparameters, fit: Fit) -> Iterator[keras.Layer]:
    """Yield a layer, batch normalization if the recipe has it, and the activation."""
    name = layer.name.removeprefix("hidden_")
    yield layer
    if fit.batch_normalization:
        yield layers.BatchNormalization(momentum=MOMENTUM, name=f"normalization_{name}")
    yield layers.Activation(found.activation, name=f"activation_{name}")


def save_model(model: keras.Model, path: Path, provenance: Provenance) -> None:
    """Save a model, without its optimizer, as a `.keras` archive of the same bytes every time.

    Keras writes the time and memory addresses into the archive; both are taken out here, and
    `provenance` is put in, what `read_provenance` returns.
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
            target.writestr(
                zipfile.ZipInfo(Provenance.FILE, ZIP_EPOCH), provenance.model_dump_json(indent=1)
            )


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
    match model.input_shape, model.output_shape:
        case (None, int(), int(), 1), (None, int()):
            return model
    raise K49Error(
        f"{path}: takes {model.input_shape} and returns {model.output_shape}, expected gray images "
        "(N, height, width, 1) and (N, classes)"
    )


def predict_proba(model: keras.Model, images: np.ndarray, shifts: int = 0) -> np.ndarray:
    """Return probabilities (N, C) float32 of images (N, H, W, 1) uint8.

    With `shifts`, means over the image moved by up to so many pixels, both ways: nine with 1.
    """
    predict = compile_predict(model)
    parts = chunks(len(images), SCORED_AT_ONCE)
    return np.concatenate([predict_shifted(predict, images[part], shifts) for part in parts])


def predict_shifted(
    predict: Callable[[np.ndarray], Any], images: np.ndarray, shifts: int
) -> np.ndarray:
    """Return `predict_proba` of images that fit into memory at once, by a compiled `predict`."""
    _, height, width, _ = images.shape
    ways = range(2 * shifts + 1)
    padded = np.pad(images, ((0, 0), (shifts, shifts), (shifts, shifts), (0, 0)))
    moved = (
        padded[:, down : down + height, right : right + width] for down in ways for right in ways
    )
    return np.mean([predict(copy).numpy() for copy in moved], axis=0)
