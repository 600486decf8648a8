"""A convolutional network: blocks of two convolutions that halve the image and double filters."""

from keras import layers

from k49.settings import Fit, Hyperparameters
from k49.training.layers import activated, dropout, weights
from k49.training.networks import Network, Tensor


def cnn(x: Tensor, found: Hyperparameters, fit: Fit) -> Tensor:
    """Apply a block of each width, then take the mean over the pixels that are left."""
    for i, filters in enumerate(found.units):
        for part in "ab":
            same = {"padding": "same", "name": f"hidden_{i}{part}"}
            convolution = layers.Conv2D(filters, 3, **same, **weights(found, fit))
            x = activated(convolution, x, found, fit)
        x = dropout(layers.AveragePooling2D(2, name=f"pool_{i}")(x), str(i), fit)
    return layers.GlobalAveragePooling2D(name="mean")(x)


NETWORK = Network(cnn, doubling=True, halving=True)
