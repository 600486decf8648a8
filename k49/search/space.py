"""From a space of params.yaml to one point of it, in Keras Tuner's terms."""

import keras_tuner

from k49.settings import Hyperparameters, LogRange, Space
from k49.training import networks


def choose(hp: keras_tuner.HyperParameters, space: Space) -> Hyperparameters:
    """Ask Keras Tuner for one point of the space.

    All widths are declared, each only where its layer exists: otherwise the first trial gets
    defaults and the widths of layers that don't exist come along.
    """
    depths = list(range(space.layers.min, space.layers.max + 1, space.layers.step))
    network, depth = networks.load(space.network), hp.Choice("layers", depths)
    units = []
    for i in range(network.searched_widths(max(depths))):
        with hp.conditional_scope("layers", [d for d in depths if d > i]):
            bounds = space.units.model_dump()
            value = hp.Int(f"units_{i}", bounds["min"], bounds["max"], step=bounds["step"])
            units.append(value)
    rate = choose_log(hp, "learning_rate", space.learning_rate)
    decay = choose_log(hp, "weight_decay", space.weight_decay) if space.weight_decay else None
    return Hyperparameters(
        network=space.network,
        units=network.widths(units, depth),
        activation=hp.Choice("activation", space.activation),
        initializer=hp.Choice("initializer", space.initializer),
        learning_rate=rate,
        weight_decay=decay,
    )


def choose_log(hp: keras_tuner.HyperParameters, name: str, bounds: LogRange) -> float:
    """Ask for a number from a logarithmic range, rounded to the six digits that are published."""
    return float(f"{hp.Float(name, bounds.min, bounds.max, sampling='log'):.6g}")
