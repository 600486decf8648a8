"""Mixup (Zhang et al. 2018, arXiv:1710.09412): each image is mixed with another, and its label."""

from typing import Any

import numpy as np
import tensorflow as tf
from scipy.special import betaincinv

from k49.training.rng import uniform

STREAM = (1 << 20) + 1  # of random numbers: beside `erase`
QUANTILES = 1024
Tensor = Any  # TensorFlow has no types


class Mixup:
    """Mixes each image of a batch with the one before it, by a share of its own.

    Args:
        alpha: of the shares' beta distribution, (alpha, alpha): 1 is uniform, near 0 mixes little.
    """

    def __init__(self, alpha: float) -> None:
        middles = (np.arange(QUANTILES) + 0.5) / QUANTILES
        # of uniform numbers, by a table: XLA has no beta distribution
        self.shares = betaincinv(alpha, alpha, middles).astype(np.float32)

    def __call__(self, images: Tensor, labels: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Return mixed images (B, H, W, 1) uint8 and labels (B, C) float32; `seed` as in `rng`."""
        drawn = uniform((images.shape[0],), seed, STREAM)
        share = tf.gather(self.shares, tf.cast(drawn * QUANTILES, tf.int32))[:, tf.newaxis]
        own = tf.cast(images, tf.float32)
        of_image = share[:, tf.newaxis, tf.newaxis]
        mixed = of_image * own + (1 - of_image) * tf.roll(own, 1, 0)
        labels = share * labels + (1 - share) * tf.roll(labels, 1, 0)
        return tf.cast(tf.round(mixed), images.dtype), labels
