"""The networks, a file each, which nothing else lists: a space of params.yaml names one.

`mlp` is NETWORK in mlp.py here; `package.module:name` is one from anywhere, a `Network` or only its
function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import log2
from typing import Any

from k49.errors import K49Error, place_of
from k49.settings import MAX_UNITS, Fit, Hyperparameters, Space

Tensor = Any  # Keras' symbolic one


@dataclass(frozen=True)
class Network:
    """How a network is built, and what of it is searched."""

    # From images (N, H, W, 1) float32, 0 to 1, to what the last layer takes, which gives the
    # logits. Each layer is one of Keras' own and called once.
    hidden: Callable[[Tensor, Hyperparameters, Fit], Tensor]
    doubling: bool = False  # the first width is searched, and each layer doubles it; else all are
    halving: bool = False  # each layer halves the image

    def searched_widths(self, depth: int) -> int:
        """Return how many of `depth` widths are searched."""
        return 1 if self.doubling else depth

    def widths(self, searched: list[int], depth: int) -> list[int]:
        """Return the widths of `depth` layers by those that were searched."""
        if self.doubling:
            return [searched[0] * 2**i for i in range(depth)]
        return searched[:depth]

    def check_size(self, layers: int, size: tuple[int, int]) -> None:
        """Refuse more layers than images of a height and width can be halved.

        Raises:
            K49Error: there are more.
        """
        most = int(log2(min(size)))
        if self.halving and layers > most:
            raise K49Error(
                f"{layers} layers, {most} at most: each halves the images of {size[0]} x {size[1]} "
                "pixels"
            )


def load(name: str) -> Network:
    """Return the network that a space names.

    Raises:
        K49Error: there is none, or it can't be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        found = import_module(module if attribute else f"{__name__}.{name}")
        network = getattr(found, attribute or "NETWORK")
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
        network.check_size(deepest, size)
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
