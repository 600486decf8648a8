"""A Keras network as a list of simple operations with their weights, from which forms are made.

Batch normalization is folded into the layer before it, where that has no other reader: the same
sums, with other weights. Layers that only training needs are left out.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from k49.errors import K49Error
from k49.model_file import IMAGE

ACTIVATIONS = ("relu", "tanh", "sigmoid", "softmax")
WEIGHTED = ("Dense", "Conv2D", "DepthwiseConv2D", "SeparableConv2D")
POOLS = {"AveragePooling2D": "average_pool", "MaxPooling2D": "max_pool"}
IDENTITIES = ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout")
KNOWN = (
    "Rescaling, Flatten, Dense, Conv2D, SeparableConv2D, DepthwiseConv2D, BatchNormalization, "
    "Activation, ReLU, Softmax, Add, "
    f"AveragePooling2D, MaxPooling2D, GlobalAveragePooling2D, {', '.join(IDENTITIES)}"
)

Layer = Any  # one of Keras'


class NotExportableError(K49Error):
    """A network that other forms can't hold."""


@dataclass(frozen=True)
class Operation:
    """One step: takes results of earlier ones by their names, and has a name for its own.

    Kinds, on values (N, H, W, C) or (N, C): `scale` by `by`; `flatten` in that order; `dense` and
    `convolve` (`padded` as Keras' "same", or not, with stride 1, in `groups` of channels,
    one or as many as there are) with `kernel` and `bias`; `affine`, `factor` and `shift` a channel;
    `relu`, `tanh`, `sigmoid`, `softmax` over the channels; `add`, of two; `average_pool` and
    `max_pool` of squares of `size` pixels that don't overlap; `mean` over the image.
    """

    name: str
    kind: str
    takes: tuple[str, ...]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)  # float32
    options: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return all but the weights, as JSON has it."""
        return {"name": self.name, "kind": self.kind, "takes": self.takes, **self.options}


@dataclass(frozen=True)
class Network:
    """Operations in order; from images (N, H, W, 1), 0 to 255, to probabilities (N, C)."""

    image_size: tuple[int, int]
    classes: int
    operations: list[Operation]  # the last gives the probabilities
    hidden: list[str]  # results whose means over the image the detector of outliers takes, ...
    logits: str  # ... and those, twice
    features: int  # how many numbers that are


def network_of(model: Any) -> Network:
    """Return a Keras model as operations.

    Args:
        model: as `training.model.load_model` returns it, of layers that are each called once.

    Raises:
        NotExportableError: one of its layers is of a kind, or has an option, that is not known.
    """
    from k49.calibration.detector import has_activation  # Keras is there, since a model is

    names = {id(model.inputs[0]): IMAGE}
    operations: list[Operation] = []
    hidden, features = [], 2 * model.output_shape[-1]
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            continue
        takes = tuple(names[id(tensor)] for tensor in inputs_of(layer))
        made = operations_of(layer, takes)
        operations += made
        names[id(layer.output)] = made[-1].name if made else takes[0]
        if has_activation(layer):
            hidden.append(names[id(layer.output)])
            features += layer.output.shape[-1]
    *_, last = operations
    if last.kind != "softmax":
        raise NotExportableError(
            "the network's last layer is no softmax, and without it nothing is exported"
        )
    height, width = model.input_shape[1:3]
    classes = model.output_shape[-1]
    logits = last.takes[0]
    operations = fold(operations, [*hidden, logits])
    return Network((height, width), classes, operations, hidden, logits, features)


def fold(operations: list[Operation], results: list[str]) -> list[Operation]:
    """Fold each normalization into the weights before it, where no other operation reads them.

    Args:
        operations: in order.
        results: names of results that are needed besides the inputs of operations.
    """
    readers = Counter([*(name for operation in operations for name in operation.takes), *results])
    folded: dict[str, Operation] = {}
    for operation in operations:
        before = folded.get(operation.takes[0])
        if (
            operation.kind == "affine"
            and before is not None
            and before.kind in ("dense", "convolve")
            and readers[before.name] == 1
        ):
            del folded[before.name]
            factor = operation.arrays["factor"]
            arrays = {
                "kernel": before.arrays["kernel"] * factor,
                "bias": before.arrays["bias"] * factor + operation.arrays["shift"],
            }
            folded[operation.name] = Operation(
                operation.name, before.kind, before.takes, arrays, before.options
            )
        else:
            folded[operation.name] = operation
    return list(folded.values())


def inputs_of(layer: Layer) -> list[Any]:
    return layer.input if isinstance(layer.input, list) else [layer.input]


def operations_of(layer: Layer, takes: tuple[str, ...]) -> list[Operation]:
    """Return a layer's operations: none, one, or two, if it has an activation of its own."""
    kind, config, name = type(layer).__name__, layer.get_config(), layer.name
    if kind in IDENTITIES:
        return []
    if kind in WEIGHTED:
        first = weighted(layer, takes)
        last = f"{name}/activation"  # no layer's name: those have no slash
        return [*first, *activation(last, first[-1].name, config["activation"])]
    if kind == "Activation":
        return activation(name, takes[0], config["activation"])
    options = ("max_value", "negative_slope", "threshold")
    if kind == "ReLU" and not any(config[option] for option in options):
        return activation(name, takes[0], "relu")
    if kind == "Softmax" and is_last(config["axis"], layer):
        return activation(name, takes[0], "softmax")
    if kind == "BatchNormalization" and is_last(config["axis"], layer):
        factor, shift = factor_and_shift(layer)
        return [Operation(name, "affine", takes, {"factor": factor, "shift": shift})]
    plain_numbers = isinstance(config.get("scale"), int | float) and config.get("offset") == 0
    if kind == "Rescaling" and plain_numbers:
        return [Operation(name, "scale", takes, options={"by": float(config["scale"])})]
    if kind in POOLS and tuple(config["pool_size"]) == tuple(config["strides"]):
        (size, *others) = config["pool_size"]
        if config["padding"] == "valid" and others == [size]:
            return [Operation(name, POOLS[kind], takes, options={"size": size})]
    shapes = [tuple(tensor.shape) for tensor in inputs_of(layer)]
    if kind == "Flatten":
        return [Operation(name, "flatten", takes)] if len(shapes[0]) == 4 else []
    if kind == "GlobalAveragePooling2D" and not config["keepdims"]:
        return [Operation(name, "mean", takes)]
    if kind == "Add" and len(shapes) == 2 and shapes[0] == shapes[1]:
        return [Operation(name, "add", takes)]
    raise NotExportableError(
        f"layer {name} is a {kind} that can't be exported, or has an option that can't; known: "
        f"{KNOWN}"
    )


def is_last(axis: Any, layer: Layer) -> bool:
    return axis in (-1, len(layer.input.shape) - 1)


def weighted(layer: Layer, takes: tuple[str, ...]) -> list[Operation]:
    """Return a dense layer or a convolution, without its activation: one operation, or two."""
    config, kind, name = layer.get_config(), type(layer).__name__, layer.name
    arrays = [np.asarray(weight, np.float32) for weight in layer.get_weights()]
    kernels, bias = (arrays[:-1], arrays[-1]) if config["use_bias"] else (arrays, None)
    if kind == "Dense":
        if len(layer.input.shape) != 2:
            raise NotExportableError(f"layer {name}: Dense on an image can't be exported")
        return [Operation(name, "dense", takes, with_bias(kernels[0], bias))]
    steps = {*config["strides"], *config["dilation_rate"], config.get("groups", 1)}
    if steps - {1}:
        raise NotExportableError(
            f"layer {name}: only convolutions with stride, dilation and groups of 1 can be exported"
        )
    options = {"padded": config["padding"] == "same", "groups": 1}
    if kind == "Conv2D":
        return [Operation(name, "convolve", takes, with_bias(kernels[0], bias), options)]
    height, width, channels, _ = kernels[0].shape
    depthwise = kernels[0].reshape(height, width, 1, -1)
    by_channel = options | {"groups": channels}
    if kind == "DepthwiseConv2D":
        return [Operation(name, "convolve", takes, with_bias(depthwise, bias), by_channel)]
    first = Operation(f"{name}/depthwise", "convolve", takes, with_bias(depthwise), by_channel)
    last = with_bias(kernels[1], bias)
    return [first, Operation(name, "convolve", (first.name,), last, options)]


def with_bias(kernel: np.ndarray, bias: np.ndarray | None = None) -> dict[str, np.ndarray]:
    if bias is None:
        bias = np.zeros(kernel.shape[-1], np.float32)
    return {"kernel": kernel, "bias": bias}


def activation(name: str, takes: str, kind: str) -> list[Operation]:
    if kind == "linear":
        return []
    if kind not in ACTIVATIONS:
        raise NotExportableError(
            f"{name}: no activation {kind} can be exported; {', '.join(ACTIVATIONS)} can"
        )
    return [Operation(name, kind, (takes,))]


def factor_and_shift(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Return batch normalization as a factor and a shift of each channel."""
    gamma = 1 if layer.gamma is None else np.asarray(layer.gamma, float)
    beta = 0 if layer.beta is None else np.asarray(layer.beta, float)
    mean, variance = (
        np.asarray(moments, float) for moments in (layer.moving_mean, layer.moving_variance)
    )
    factor = gamma / np.sqrt(variance + layer.epsilon)
    return factor.astype(np.float32), (beta - mean * factor).astype(np.float32)


def images_to_try(size: tuple[int, int]) -> np.ndarray:
    """Return four images (4, H, W, 1) uint8: noise, light and dark, with and without structure."""
    rng = np.random.default_rng(49)
    noise = rng.integers(0, 256, (4, *size, 1))
    down = np.linspace(0, 1, size[0])[:, np.newaxis, np.newaxis]
    shapes = np.zeros_like(noise)
    shapes[1, size[0] // 4 : size[0] // 2, size[1] // 3 :] = 1
    shapes[2] = np.indices(size).sum(0)[..., np.newaxis] % 7 < 3
    return np.stack([noise[0], 255 * shapes[1], 230 * shapes[2], noise[3] * down]).astype(np.uint8)
