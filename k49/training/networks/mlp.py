"""A multilayer perceptron, as the report's: dense layers, one after the other."""

from keras import layers

from k49.settings import Fit, Hyperparameters
from k49.training.layers import activated, dropout, weights
from k49.training.networks import Network, Tensor


def mlp(x: Tensor, found: Hyperparameters, fit: Fit) -> Tensor:
    """Apply a dense layer of each width."""
    x = layers.Flatten(name="flatten")(x)
    for i, units in enumerate(found.units):
        dense = layers.Dense(units, name=f"hidden_{i}", **weights(found, fit))
        x = dropout(activated(dense, x, found, fit), str(i), fit)
    return x


NETWORK = Network(mlp)
