"""The networks, of layers that are each one of Keras' own and called once.

A space of params.yaml names one: `mlp`, `hog`, `cnn` or `resnet`, of NETWORKS at the end of this
file, or `package.module:name`, a `Network` or only its function, from anywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import log2
from typing import Any

import numpy as np
from keras import layers

from k49.errors import K49Error, place_of
from k49.settings import MAX_UNITS, Fit, Hyperparameters, Space

Tensor = Any  # Keras' symbolic one
# Of batch normalization's running means. Keras' default of 0.99 still holds 15 % of its first guess
# after 190 steps, as short as a trial of the search may be; at 0.9 it is 2e-9.
MOMENTUM = 0.9
DIRECTIONS = 8  # of gradients, around the circle
CELL = 3  # height and width, pixels
RESNET_BLOCKS = 2  # of a stage


@dataclass(frozen=True)
class Network:
    """How a network is built, and which of its widths are searched."""

    # From images (N, H, W, 1) float32, 0 to 1, to the input of the last layer, which gives the
    # logits.
    hidden: Callable[[Tensor, Hyperparameters, Fit], Tensor]
    doubling: bool = False  # the first width is searched, and each layer doubles it; else all are
    halving: bool = False  # each layer halves the image

    def searched_widths(self, depth: int) -> int:
        return 1 if self.doubling else depth

    def widths(self, searched: list[int], depth: int) -> list[int]:
        if self.doubling:
            return [searched[0] * 2**i for i in range(depth)]
        return searched[:depth]

    def check_depth(self, depth: int, size: tuple[int, int]) -> None:
        """Refuse more layers than images of a height and width can be halved.

        Raises:
            K49Error: there are more.
        """
        most = int(log2(min(size)))
        if self.halving and depth > most:
            raise K49Error(
                f"{depth} layers, {most} at most: each halves the images of {size[0]} x {size[1]} "
                "pixels"
            )


def load(name: str) -> Network:
    """Return the network that a space names.

    Raises:
        K49Error: there is none, or it can't be imported.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        if name not in NETWORKS:
            raise K49Error(f"network {name}: unknown; known: {', '.join(NETWORKS)}, or module:name")
        return NETWORKS[name]
    try:
        network = getattr(import_module(module), attribute)
    except Exception as error:  # whatever happens while somebody's file is imported
        where = "" if isinstance(error, ImportError | AttributeError) else f"{place_of(error)}: "
        raise K49Error(f"network {name}: {where}{type(error).__name__}: {error}") from error
    return network if isinstance(network, Network) else Network(network)


def check_space(name: str, space: Space, trials: int, size: tuple[int, int]) -> None:
    """Refuse a space that its network, or images of that size, can't have.

    Raises:
        K49Error: it has too many layers, is too wide, or too small for so many trials.
    """
    network, deepest = load(space.network), space.layers.max
    try:
        network.check_depth(deepest, size)
    except K49Error as error:
        raise K49Error(f"spaces.{name}.layers.max: {error}") from error
    if (widest := max(network.widths([space.units.max] * deepest, deepest))) > MAX_UNITS:
        raise K49Error(
            f"spaces.{name}: units.max is {space.units.max}, which {deepest} layers double to "
            f"{widest}, {MAX_UNITS} at most"
        )
    if (points := space.combinations(network.searched_widths)) < trials:
        raise K49Error(
            f"tune.trials: {trials} trials, but spaces.{name} has only {points} combinations"
        )


# --- parts that networks share -------------------------------------------------------------------


def weights(hp: Hyperparameters, fit: Fit) -> dict[str, Any]:
    bias = not fit.batch_normalization
    return {"kernel_initializer": hp.initializer, "use_bias": bias}


def activation(x: Tensor, name: str, hp: Hyperparameters, fit: Fit) -> Tensor:
    if fit.batch_normalization:
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"normalization_{name}")(x)
    return layers.Activation(hp.activation, name=f"activation_{name}")(x)


def dropout(x: Tensor, name: str, fit: Fit) -> Tensor:
    return layers.Dropout(fit.dropout, name=f"dropout_{name}")(x) if fit.dropout else x


def convolution(x: Tensor, filters: int, name: str, hp: Hyperparameters, fit: Fit) -> Tensor:
    options = {"padding": "same", "name": f"hidden_{name}", **weights(hp, fit)}
    return layers.Conv2D(filters, 3, **options)(x)


# --- the networks --------------------------------------------------------------------------------


def mlp(x: Tensor, hp: Hyperparameters, fit: Fit) -> Tensor:
    """A multilayer perceptron, as the report's: a dense layer of each width."""
    x = layers.Flatten(name="flatten")(x)
    for i, units in enumerate(hp.units):
        x = layers.Dense(units, name=f"hidden_{i}", **weights(hp, fit))(x)
        x = dropout(activation(x, str(i), hp, fit), str(i), fit)
    return x


def hog(x: Tensor, hp: Hyperparameters, fit: Fit) -> Tensor:
    """A multilayer perceptron on histograms of oriented gradients, which are not trained.

    How much the image brightens at a pixel in each of DIRECTIONS, 0 where it darkens, averaged over
    cells of CELL x CELL pixels: as in Dalal & Triggs 2005 (doi:10.1109/CVPR.2005.177), but without
    their normalization, since ink and paper have full contrast.
    """
    gradients = layers.Conv2D(
        DIRECTIONS,
        kernel_size=3,
        padding="same",
        activation="relu",
        use_bias=False,
        kernel_initializer="zeros",
        trainable=False,
        name="gradients",
    )
    x = gradients(x)
    gradients.set_weights([sobel(DIRECTIONS)])
    return mlp(layers.AveragePooling2D(CELL, name="cells")(x), hp, fit)


def sobel(directions: int) -> np.ndarray:
    """Return Sobel's operator turned to each direction, as a kernel (3, 3, 1, directions)."""
    to_the_right = np.outer([1, 2, 1], [-1, 0, 1]) / 4
    turned = np.arange(directions) * 2 * np.pi / directions
    kernels = np.multiply.outer(to_the_right, np.cos(turned))
    kernels += np.multiply.outer(to_the_right.T, np.sin(turned))
    return kernels[:, :, np.newaxis].astype(np.float32)


def cnn(x: Tensor, hp: Hyperparameters, fit: Fit) -> Tensor:
    """A convolutional network: blocks of two convolutions that halve the image, double filters."""
    for i, filters in enumerate(hp.units):
        for part in "ab":
            x = convolution(x, filters, f"{i}{part}", hp, fit)
            x = activation(x, f"{i}{part}", hp, fit)
        x = dropout(layers.AveragePooling2D(2, name=f"pool_{i}")(x), str(i), fit)
    return layers.GlobalAveragePooling2D(name="mean")(x)


def resnet(x: Tensor, hp: Hyperparameters, fit: Fit) -> Tensor:
    """A residual network with pre-activation (He et al. 2016, arXiv:1603.05027).

    Stages of two blocks; each stage but the first halves the image and doubles the filters. Short
    and wide, as wide residual networks are (arXiv:1605.07146).
    """
    x = convolution(x, hp.units[0], "stem", hp, fit)
    for stage, filters in enumerate(hp.units):
        if stage:
            x = layers.AveragePooling2D(2, name=f"pool_{stage}")(x)
        for part in range(RESNET_BLOCKS):
            x = residual_block(x, filters, f"{stage}_{part}", hp, fit)
    x = activation(x, "last", hp, fit)
    return layers.GlobalAveragePooling2D(name="mean")(x)


def residual_block(x: Tensor, filters: int, name: str, hp: Hyperparameters, fit: Fit) -> Tensor:
    """Add two convolutions, each behind its normalization and activation, to their input.

    A third convolution widens the input, where it is narrower.
    """
    inside = activation(x, f"{name}a", hp, fit)
    shortcut = x
    if x.shape[-1] != filters:
        options = weights(hp, fit)
        shortcut = layers.Conv2D(filters, 1, name=f"widen_{name}", **options)(inside)
    inside = convolution(inside, filters, f"{name}a", hp, fit)
    inside = dropout(activation(inside, f"{name}b", hp, fit), name, fit)
    inside = convolution(inside, filters, f"{name}b", hp, fit)
    return layers.Add(name=f"add_{name}")([shortcut, inside])


NETWORKS = {
    "mlp": Network(mlp),
    "hog": Network(hog),
    "cnn": Network(cnn, doubling=True, halving=True),
    "resnet": Network(resnet, doubling=True, halving=True),
}
