"""Moves, turns, stretches and bends images while a model trains, a whole batch at a time.

Every image of a batch gets an affine map and an elastic displacement of its own. Both are linear
in a few random numbers, so one matrix product gives where each pixel comes from; there the image is
interpolated between four neighbours, which one look-up brings, packed into one number.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.interpolate import BSpline

from k49.data import IMAGE_SHAPE
from k49.settings import Augment
from k49.training.rng import uniform

SIZE = IMAGE_SHAPE[0]  # pixels, both ways
PADDED = SIZE + 2  # with a black border of one pixel, which is what lies outside
STREAM = 0  # of random numbers
Tensor = Any  # TensorFlow has no types


class Distort:
    """Distorts a batch of images, with random numbers of a seed.

    Args:
        settings: the range of each transformation.
    """

    def __init__(self, settings: Augment) -> None:
        self.settings = settings
        self.knots = settings.elastic_grid**2
        middle = np.arange(SIZE) - (SIZE - 1) / 2
        rows, columns = (axis.ravel() for axis in np.meshgrid(middle, middle, indexing="ij"))
        # (knots + 3, 784): what each random number, row, column and 1 add to a pixel's coordinate
        features = np.vstack([elastic_basis(settings.elastic_grid).T, rows, columns, rows * 0 + 1])
        self.features = features.astype(np.float32)

    def __call__(self, images: Tensor, seed: Tensor) -> Tensor:
        """Return distorted images (B, 28, 28, 1) uint8; `seed` as in `rng`, (2,) int64."""
        n = images.shape[0]
        rows, columns = self.coordinates(n, seed)
        top, left = tf.floor(rows), tf.floor(columns)
        down, right = rows - top, columns - left

        corner = tf.range(n)[:, tf.newaxis] * PADDED**2 + tf.cast(top * PADDED + left, tf.int32)
        four = tf.gather(pack(images), corner)
        upper = byte(four, 0) + right * (byte(four, 1) - byte(four, 0))
        lower = byte(four, 2) + right * (byte(four, 3) - byte(four, 2))
        moved = tf.round(upper + down * (lower - upper))
        return tf.cast(tf.reshape(moved, (n, SIZE, SIZE, 1)), tf.uint8)

    def coordinates(self, n: int, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Return where each pixel comes from: row and column in the padded image, each (N, 784)."""
        s, knots = self.settings, self.knots
        random = 2 * uniform((n, 6 + 2 * knots), seed, STREAM) - 1
        affine, bend_rows, bend_columns = tf.split(random, [6, knots, knots], 1)
        ranges = [s.rotation, s.shear, s.scale, s.scale, s.shift, s.shift]
        turn, shear, taller, wider, down, right = tf.split(affine * ranges, 6, 1)
        tall, wide, centre = 1 + taller, 1 + wider, (PADDED - 1) / 2
        bend = s.elastic * math.sqrt(3)  # uniform numbers of -1 to 1 deviate by 1 / sqrt(3)

        cos, sin = tf.cos(turn), tf.sin(turn)
        down, right = down + centre, right + centre
        rows = tf.concat([bend * bend_rows, tall * cos, -wide * sin, down], 1)
        columns = tf.concat([bend * bend_columns, tall * sin + shear, wide * cos, right], 1)
        at = tf.matmul(tf.concat([rows, columns], 0), self.features)
        inside = tf.clip_by_value(at, 0.0, PADDED - 1 - 1e-3)  # the corner's neighbours, too
        return inside[:n], inside[n:]


def elastic_basis(knots: int) -> np.ndarray:
    """Return what each control point of a knots x knots grid adds to each pixel; (784, knots^2).

    Cubic B-splines, so that neighbouring pixels move alike and strokes stay whole.
    """
    positions = np.arange(-3.0, knots + 1)
    at = (np.arange(SIZE) + 0.5) / SIZE * (knots - 3)  # the middles of the pixels
    line = BSpline.design_matrix(at, positions, 3).toarray()  # (28, knots)
    return np.kron(line, line).astype(np.float32)


def pack(images: Tensor) -> Tensor:
    """Pack each pixel of the padded images with its neighbours right, below and diagonal.

    (N, 28, 28, 1) uint8 become (N * 900,) uint32 of four bytes each, the pixel itself the lowest.
    """
    padded = tf.cast(tf.pad(images[..., 0], ((0, 0), (1, 1), (1, 1))), tf.uint32)

    def from_there(down: int, right: int) -> Tensor:
        return tf.roll(padded, [-down, -right], [1, 2])

    packed = (
        padded
        + from_there(0, 1) * 2**8
        + from_there(1, 0) * 2**16
        + from_there(1, 1) * 2**24
    )  # fmt: skip
    return tf.reshape(packed, [-1])


def byte(packed: Tensor, i: int) -> Tensor:
    """Return byte `i` of each number, from the lowest, as float32."""
    shifted = tf.bitwise.right_shift(packed, tf.constant(8 * i, tf.uint32))
    return tf.cast(tf.bitwise.bitwise_and(shifted, tf.constant(255, tf.uint32)), tf.float32)


def variations(images: np.ndarray, settings: Augment, n: int, seed: int) -> np.ndarray:
    """Return images (N, 28, 28, 1) uint8, each with `n` distorted ones: (N, 1 + n, 28, 28, 1).

    With augmentation off, that is each image by itself: (N, 1, 28, 28, 1).
    """
    originals = np.asarray(images)[:, np.newaxis]
    if not settings.enabled:
        return originals
    batch = np.repeat(images, n, axis=0)
    distorted = Distort(settings)(batch, tf.constant([seed, 0], tf.int64)).numpy()
    return np.concatenate([originals, distorted.reshape(-1, n, *images.shape[1:])], axis=1)
