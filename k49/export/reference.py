"""A network's operations in NumPy, as the page computes them; compared with Keras by layers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from k49.export.network import IMAGE, Network, NotExportableError, Operation

MOST_APART = 1e-3  # of a layer's results, relative to the largest of them
EACH_VALUE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def images_to_try(size: tuple[int, int]) -> np.ndarray:
    """Return four images (4, H, W, 1) uint8: noise, light and dark, with and without structure."""
    rng = np.random.default_rng(49)
    noise = rng.integers(0, 256, (4, *size, 1))
    down = np.linspace(0, 1, size[0])[:, np.newaxis, np.newaxis]
    shapes = np.zeros_like(noise)
    shapes[1, size[0] // 4 : size[0] // 2, size[1] // 3 :] = 1
    shapes[2] = np.indices(size).sum(0)[..., np.newaxis] % 7 < 3
    return np.stack([noise[0], 255 * shapes[1], 230 * shapes[2], noise[3] * down]).astype(np.uint8)


def compare_with_keras(network: Network, model: Any, images: np.ndarray) -> None:
    """Compare the results of operations with those of the Keras layers that they were made of.

    Args:
        network: operations.
        model: the Keras model.
        images: (N, H, W, 1) uint8.

    Raises:
        NotExportableError: they differ; names the first such layer.
    """
    from k49.training.model import layer_outputs  # Keras is there, since a model is

    layers = {layer.name: layer for layer in model.layers}
    found = results(network, images)
    # the result of a layer with an activation of its own is that of the activation
    of_layer = {name.removesuffix("/activation"): name for name in found}
    compared = [name for name in of_layer if name in layers and name != IMAGE]
    for name, of_keras in zip(compared, layer_outputs(model, compared, images), strict=True):
        found_here = found[of_layer[name]]
        same_shape = found_here.shape == of_keras.shape
        apart = np.abs(found_here - of_keras).max() if same_shape else np.inf
        apart /= max(1, np.abs(of_keras).max())
        if not apart <= MOST_APART:
            raise NotExportableError(
                f"layer {name}, a {type(layers[name]).__name__}, would compute something else than "
                f"in Keras (by {apart:.1e} of its largest result)"
            )


def results(network: Network, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the results of all operations by name, float32, of images (N, H, W, 1) uint8."""
    values = {IMAGE: images.astype(np.float32)}
    for operation in network.operations:
        takes = [values[name] for name in operation.takes]
        values[operation.name] = compute(operation, *takes)
    return values


def compute(operation: Operation, x: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Return the result of one operation on values (N, H, W, C) or (N, C)."""
    kind, arrays, options = operation.kind, operation.arrays, operation.options
    if kind in EACH_VALUE:
        return EACH_VALUE[kind](x)
    if kind == "scale":
        return x * np.float32(options["by"])
    if kind == "flatten":
        return x.reshape(len(x), -1)
    if kind == "dense":
        return x @ arrays["kernel"] + arrays["bias"]
    if kind == "convolve":
        return convolve(operation, x)
    if kind == "affine":
        return x * arrays["factor"] + arrays["shift"]
    if kind == "softmax":
        powers = np.exp(x - x.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
    if kind == "add":
        return x + others[0]
    if kind == "mean":
        return x.mean((1, 2))
    size = options["size"]  # of a pool
    n, height, width, channels = x.shape
    tall, wide = height // size, width // size
    squares = x[:, : tall * size, : wide * size].reshape(n, tall, size, wide, size, channels)
    return squares.mean((2, 4)) if kind == "average_pool" else squares.max((2, 4))


def convolve(operation: Operation, x: np.ndarray) -> np.ndarray:
    """Return a convolution of (N, H, W, C), in one group or in one for each channel."""
    kernel, groups = operation.arrays["kernel"], operation.options["groups"]
    rows, columns = kernel.shape[:2]
    if operation.options["padded"]:
        around = [((length - 1) // 2, length // 2) for length in (rows, columns)]
        x = np.pad(x, ((0, 0), *around, (0, 0)))
    windows = sliding_window_view(x, (rows, columns), axis=(1, 2))  # (N, H, W, C, rows, columns)
    if groups == 1:
        found = np.tensordot(windows, kernel, ((4, 5, 3), (0, 1, 2)))
    else:
        apart = kernel.reshape(rows, columns, groups, -1)
        found = np.einsum("nhwcrk,rkcm->nhwcm", windows, apart)
        found = found.reshape(*found.shape[:3], -1)
    return found + operation.arrays["bias"]
