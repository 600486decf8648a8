"""Random numbers of a step: a function of seed, step and stream, and fast under XLA.

Counter-based numbers (Philox; Salmon et al., SC 2011, doi:10.1145/2063384.2063405) have no state.
"""

import math
from typing import Any

import tensorflow as tf

Tensor = Any


def uniform(shape: Any, seed: Tensor, stream: int) -> Tensor:
    """Float32 in [0, 1); `seed` is (2,) int64, a seed below 2^31 and the step."""
    return tf.random.stateless_uniform(shape, apart(seed, stream), alg="philox")


def normal(shape: Any, seed: Tensor, stream: int) -> Tensor:
    """Float32 of mean 0 and standard deviation 1; `seed` as for `uniform`."""
    return tf.random.stateless_normal(shape, apart(seed, stream), alg="philox")


def kept(shape: tuple[int, ...], rate: float, seed: Tensor, stream: int) -> Tensor:
    """True for all but a share `rate` of the elements, bool; `seed` as for `uniform`.

    16 random bits decide on each element, half of what `uniform` needs; so `rate` counts in steps
    of 1 / 65,536.
    """
    n = math.prod(shape)
    bits = tf.random.stateless_uniform(
        [-(-n // 2)], apart(seed, stream), None, None, tf.uint32, alg="philox"
    )
    numbers = tf.reshape(tf.bitcast(bits, tf.uint16), [-1])[:n]
    return tf.reshape(numbers >= tf.constant(round(rate * 2**16), tf.uint16), shape)


def apart(seed: Tensor, stream: int) -> Tensor:
    """The seed of one of the streams of numbers of a step: seeds use the lower 32 bits alone."""
    return seed + tf.constant([stream << 32, 0], tf.int64)
