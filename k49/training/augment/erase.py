"""Random erasing (Zhong et al. 2020, arXiv:1708.04896): a rectangle of an image becomes black."""

from typing import Any

import tensorflow as tf

from k49.training.rng import uniform

STREAM = 1 << 20  # of random numbers: dropout's are below
AREA = (0.02, 0.2)  # share of the image, from, to; half of the paper's, for ink is most of an image
RATIO = (0.3, 3.3)  # of height to width, from, to
Tensor = Any  # TensorFlow has no types


def erase(probability: float, images: Tensor, seed: Tensor) -> Tensor:
    """Return images (B, H, W, 1) uint8, some of them with a black rectangle.

    Args:
        probability: of each image.
        images: a batch.
        seed: as in `rng`.
    """
    n, height, width, _ = images.shape
    chance, area, ratio, down, right = tf.split(uniform((n, 5), seed, STREAM), 5, 1)
    area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * area)
    ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** ratio
    tall = tf.minimum(tf.sqrt(area * ratio), float(height))
    wide = tf.minimum(tf.sqrt(area / ratio), float(width))
    rows = between(height, down * (height - tall), tall)[:, :, tf.newaxis]
    columns = between(width, right * (width - wide), wide)[:, tf.newaxis]
    inside = rows & columns & (chance < probability)[:, :, tf.newaxis]
    return tf.where(inside[..., tf.newaxis], tf.zeros_like(images), images)


def between(length: int, start: Tensor, size: Tensor) -> Tensor:
    """Return which of so many pixels lie in a stretch; (B, length) bool of (B, 1) each."""
    middle = tf.range(length, dtype=tf.float32) + 0.5
    return (middle > start) & (middle < start + size)
