"""Parts that networks share."""

from typing import Any

import keras
from keras import layers

from k49.settings import Fit, Hyperparameters

Tensor = Any  # Keras' symbolic one
# Of batch normalization's running means. Keras' default of 0.99 still holds 15 % of its first guess
# after 190 steps, as short as a trial of the search may be; at 0.9 it is 2e-9.
MOMENTUM = 0.9


def weights(hyperparameters: Hyperparameters, fit: Fit) -> dict[str, Any]:
    """Return a layer's options for its weights; batch normalization has a bias of its own."""
    bias = not fit.batch_normalization
    return {"kernel_initializer": hyperparameters.initializer, "use_bias": bias}


def activated(layer: keras.Layer, x: Tensor, found: Hyperparameters, fit: Fit) -> Tensor:
    """Apply a layer called `hidden_...`, then what `activation` does."""
    return activation(layer(x), layer.name.removeprefix("hidden_"), found, fit)


def activation(x: Tensor, name: str, found: Hyperparameters, fit: Fit) -> Tensor:
    """Apply batch normalization if the recipe has it, and the activation."""
    if fit.batch_normalization:
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"normalization_{name}")(x)
    return layers.Activation(found.activation, name=f"activation_{name}")(x)


def dropout(x: Tensor, name: str, fit: Fit) -> Tensor:
    """Apply dropout if the recipe has it."""
    return layers.Dropout(fit.dropout, name=f"dropout_{name}")(x) if fit.dropout else x
