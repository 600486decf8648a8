"""A residual network with pre-activation (He et al. 2016, arXiv:1603.05027), for a GPU or an hour.

Stages of two blocks; each stage but the first halves the image and doubles the filters. A block
adds two convolutions, each behind its normalization and activation, to what comes in. Short and
wide, as wide residual networks are (arXiv:1605.07146).
"""

from keras import layers

from k49.settings import Fit, Hyperparameters
from k49.training.layers import activation, dropout, weights
from k49.training.networks import Network, Tensor

BLOCKS = 2  # of a stage


def resnet(x: Tensor, found: Hyperparameters, fit: Fit) -> Tensor:
    """Apply a stage of each width, then take the mean over the pixels that are left."""
    x = convolution(x, found.units[0], "stem", found, fit)
    for stage, filters in enumerate(found.units):
        if stage:
            x = layers.AveragePooling2D(2, name=f"pool_{stage}")(x)
        for part in range(BLOCKS):
            x = block(x, filters, f"{stage}_{part}", found, fit)
    x = activation(x, "last", found, fit)
    return layers.GlobalAveragePooling2D(name="mean")(x)


def block(x: Tensor, filters: int, name: str, found: Hyperparameters, fit: Fit) -> Tensor:
    """Add two convolutions to what comes in; a third one widens that, where it is narrower."""
    inside = activation(x, f"{name}a", found, fit)
    shortcut = x
    if x.shape[-1] != filters:
        options = weights(found, fit)
        shortcut = layers.Conv2D(filters, 1, name=f"widen_{name}", **options)(inside)
    inside = convolution(inside, filters, f"{name}a", found, fit)
    inside = dropout(activation(inside, f"{name}b", found, fit), name, fit)
    inside = convolution(inside, filters, f"{name}b", found, fit)
    return layers.Add(name=f"add_{name}")([shortcut, inside])


def convolution(x: Tensor, filters: int, name: str, found: Hyperparameters, fit: Fit) -> Tensor:
    """Apply a convolution of 3 x 3 pixels."""
    options = {"padding": "same", "name": f"hidden_{name}", **weights(found, fit)}
    return layers.Conv2D(filters, 3, **options)(x)


NETWORK = Network(resnet, doubling=True, halving=True)
