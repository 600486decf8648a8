"""Ways to train the same network on the same images: ours, and those that people would write.

    python -m benchmarks.ways NAME RECIPE FOLDER EPOCHS

trains in FOLDER, which holds data/split, and prints a line of JSON: seconds of each epoch, without
validation (the first one compiles), and the peak memory of the process in MiB. `benchmarks.epoch`
runs them all. Nothing is imported before it is known which way it is.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

# `mlp` is a multilayer perceptron with the settings of the recipe default
UNITS = {"report": [512, 448], "mlp": [512, 512, 512], "cnn": [16, 32, 64, 128]}
# As the recipes have them, for ways that don't know them
BATCH = {"report": 64, "mlp": 512, "cnn": 128}
RATE = {"report": 1.696e-4, "mlp": 6e-3, "cnn": 4e-3}
DECAY = {"mlp": 0.25, "cnn": 0.05}  # the report: none, nor batch normalization, nor smoothing
STEPS_PER_EXECUTION = 50
Lap = Callable[[], None]  # called before the first epoch and after each


def load(folder: Path, kind: type, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 784), of floats scaled to 1, or (N, 28, 28, 1) uint8 mapped; one-hot labels."""
    images, labels = (
        np.load(folder / f"data/split/{split}_{what}.npy", mmap_mode="r")
        for what in ("images", "labels")
    )
    if kind is np.uint8:
        return images, labels
    return images.reshape(-1, 784).astype(kind) / kind(255), labels.astype(kind)


# --- ours


def ours(recipe: str, folder: Path, epochs: int, lap: Lap, distorted: bool = False) -> None:
    from k49.training.fit import fit

    config, train, val = training(recipe, folder, epochs, distorted)
    lap()
    fit(config, train, val, lambda figures: lap())


def training(recipe: str, folder: Path, epochs: int, distorted: bool) -> tuple[Any, Any, Any]:
    """How to train a recipe's network; the images; and a few to validate, which takes no time."""
    from k49.data import Dataset
    from k49.settings import Hyperparameters, Settings, validate
    from k49.training.fit import training_config

    train = Dataset(*load(folder, np.uint8))
    content = settings_of(recipe)
    content["augment"]["enabled"] = distorted
    settings = validate(Settings, content, recipe)
    found = Hyperparameters(
        network="cnn" if recipe == "cnn" else "mlp",
        units=UNITS[recipe],
        activation="relu",
        initializer="glorot_normal" if recipe == "report" else "he_uniform",
        learning_rate=RATE[recipe],
        weight_decay=None,
    )
    config = training_config(settings, found, len(train)).model_copy(update={"epochs": epochs})
    return config, train, Dataset(train.images[:49], train.labels[:49])


def settings_of(recipe: str) -> dict:
    import k49
    from k49.io import read_yaml
    from k49.settings import read_recipe

    content = read_yaml(Path(k49.__file__).parents[1] / "params.yaml")
    for section, values in read_recipe("default" if recipe == "mlp" else recipe).items():
        content[section] |= values
    if recipe == "mlp":
        content["spaces"]["default"]["network"] = "mlp"
    return content


def search_of(recipe: str, **tune: Any) -> Any:
    from k49.search.search import search_config
    from k49.settings import Settings, validate

    content = settings_of(recipe)
    content["tune"] |= tune
    return search_config(validate(Settings, content, recipe))


# --- Keras


def keras_model(recipe: str, raw: bool) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    model = keras.Sequential()
    if raw:
        model.add(keras.Input((28, 28, 1), dtype="uint8"))
        model.add(layers.Rescaling(1 / 255))
    else:
        model.add(keras.Input((784,)))
    for layer in keras_cnn(layers) if recipe == "cnn" else keras_mlp(layers, recipe, raw):
        model.add(layer)
    model.add(layers.Dense(49, activation="softmax"))
    optimizer = keras.optimizers.Adam(RATE[recipe])
    if recipe in DECAY:
        optimizer = keras.optimizers.AdamW(RATE[recipe], weight_decay=DECAY[recipe])
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1 * (recipe in DECAY)),
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION if raw else 1,
    )
    return model


def keras_mlp(layers: Any, recipe: str, raw: bool) -> Iterator[Any]:
    if raw:
        yield layers.Flatten()
    for units in UNITS[recipe]:
        yield layers.Dense(units, use_bias=recipe == "report")
        if recipe == "mlp":
            yield layers.BatchNormalization()
        yield layers.Activation("relu")
        if recipe == "report":
            yield layers.Dropout(0.25)


def keras_cnn(layers: Any) -> Iterator[Any]:
    for filters in UNITS["cnn"]:
        for _ in "ab":
            yield layers.Conv2D(filters, 3, padding="same", use_bias=False)
            yield layers.BatchNormalization()
            yield layers.Activation("relu")
        yield layers.AveragePooling2D(2)
    yield layers.GlobalAveragePooling2D()


def keras_fit(recipe: str, folder: Path, epochs: int, lap: Lap, raw: bool) -> None:
    x, y = load(folder, np.uint8 if raw else np.float32)
    model = keras_model(recipe, raw)
    lap()
    for _ in range(epochs):
        model.fit(x, y, batch_size=BATCH[recipe], epochs=1, verbose=0)
        lap()


# --- PyTorch


def torch_model(recipe: str) -> Any:
    from torch import nn

    layers, before = [], 784
    for units in UNITS[recipe]:
        layers.append(nn.Linear(before, units, bias=recipe == "report"))
        if recipe == "mlp":
            layers.append(nn.BatchNorm1d(units))
        layers.append(nn.ReLU())
        if recipe == "report":
            layers.append(nn.Dropout(0.25))
        before = units
    return nn.Sequential(*layers, nn.Linear(before, 49))


def torch_cnn() -> Any:
    from torch import nn

    layers, before = [], 1
    for filters in UNITS["cnn"]:
        for into in (before, filters):
            layers.append(nn.Conv2d(into, filters, 3, padding=1, bias=False))
            layers += [nn.BatchNorm2d(filters), nn.ReLU()]
        layers.append(nn.AvgPool2d(2))
        before = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 49))


def torch_loader(recipe: str, folder: Path, epochs: int, lap: Lap) -> None:
    """As the tutorials do it: DataLoader, float32 tensors, Adam."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    x, y = load(folder, np.float32)
    dataset = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    model = torch_model(recipe)
    optimizer = torch.optim.Adam(model.parameters(), RATE[recipe])
    lap()
    for _ in range(epochs):
        for images, labels in DataLoader(dataset, BATCH[recipe], shuffle=True):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        lap()


def torch_loop(recipe: str, folder: Path, epochs: int, lap: Lap, variant: str = "plain") -> None:
    """As fast as it goes by hand: uint8, indices instead of a loader, the fused optimizer.

    Args:
        variant: plain, compiled, channels_last, or bfloat16 (automatic mixed precision).
    """
    import torch

    x, y = (torch.from_numpy(np.array(each)) for each in load(folder, np.uint8))
    x, y = x.reshape(-1, *((1, 28, 28) if recipe == "cnn" else (784,))), y.argmax(1)
    model = torch_cnn() if recipe == "cnn" else torch_model(recipe)
    if variant == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    call = torch.compile(model) if variant == "compiled" else model
    kind = torch.optim.AdamW if recipe in DECAY else torch.optim.Adam
    decay = {"weight_decay": DECAY[recipe]} if recipe in DECAY else {}
    optimizer = kind(model.parameters(), RATE[recipe], fused=True, **decay)
    smoothing = 0.1 * (recipe in DECAY)
    lap()
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(BATCH[recipe]):
            images = x[batch].float() / 255
            if variant == "channels_last":
                images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=variant == "bfloat16"):
                logits = call(images)
            loss = torch.nn.functional.cross_entropy(
                logits.float(), y[batch], label_smoothing=smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        lap()


# --- scikit-learn


def sklearn_mlp(recipe: str, folder: Path, epochs: int, lap: Lap) -> None:
    """MLPClassifier, which knows no dropout."""
    import warnings

    from sklearn.neural_network import MLPClassifier

    x, y = load(folder, np.float32)
    y = y.argmax(1)
    warnings.simplefilter("ignore")  # that one epoch is not enough
    options = {"batch_size": BATCH[recipe], "learning_rate_init": RATE[recipe], "alpha": 0}
    model = MLPClassifier(UNITS[recipe], **options, max_iter=1, warm_start=True)
    lap()
    for _ in range(epochs):
        model.fit(x, y)
        lap()


# name: what it is, its function, and the settings of its own
WAYS: dict[str, tuple[str, Callable[..., None], dict]] = {
    "ours": ("this project", ours, {}),
    "ours-distorted": ("this project, images distorted", ours, {"distorted": True}),
    "notebook": ("Keras fit, float32 arrays (the notebook way)", keras_fit, {"raw": False}),
    "keras": ("Keras fit, uint8, steps_per_execution", keras_fit, {"raw": True}),
    "keras-jax": ("Keras fit on JAX, uint8, steps_per_execution", keras_fit, {"raw": True}),
    "torch-loader": ("PyTorch, DataLoader", torch_loader, {}),
    "torch-loop": ("PyTorch, index loop, fused Adam", torch_loop, {}),
    "torch-compile": ("PyTorch, index loop, torch.compile", torch_loop, {"variant": "compiled"}),
    "torch-last": ("PyTorch, index loop, channels_last", torch_loop, {"variant": "channels_last"}),
    "torch-bf16": ("PyTorch, index loop, bfloat16", torch_loop, {"variant": "bfloat16"}),
    "sklearn": ("scikit-learn MLPClassifier (no dropout)", sklearn_mlp, {}),
}


def main(name: str, recipe: str, folder: Path, epochs: int) -> None:
    os.environ["KERAS_BACKEND"] = "jax" if "jax" in name else "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _, function, options = WAYS[name]
    times: list[float] = []
    function(recipe, folder, epochs, lambda: times.append(time.perf_counter()), **options)
    from k49.progress import peak_memory  # not before: it would count for the others, too

    print(json.dumps({"seconds": np.diff(times).tolist(), "peak_mib": int(peak_memory())}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
