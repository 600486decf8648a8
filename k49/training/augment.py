"""Distorts train images while a model trains: each epoch anew, a whole batch at a time.

Every image of a batch gets an affine map and an elastic displacement of its own. Both are linear
in a few random numbers, so one matrix product gives the place that each pixel comes from; there the
image is interpolated between four neighbours, which one look-up brings, packed into one number.

Random numbers are a function of seed, step and stream, and fast under XLA: a key by Philox (Salmon
et al., SC 2011, doi:10.1145/2063384.2063405), then a hash of key and index, the finalizer of 32
bits with the least bias that https://github.com/skeeto/hash-prospector found. Philox alone for all
numbers takes 17 % of an epoch of the report's recipe, this 2 %.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.interpolate import BSpline

from k49.settings import Augment

WEYL = 0x9E3779B9  # 2^32 divided by the golden ratio: indices, far apart
DISTORT_STREAM = 0  # of random numbers
ERASE_STREAM = 1 << 20  # dropout's streams are below
AREA = (0.02, 0.2)  # of an erased rectangle, shares of the image, from and to; half of the paper's,
# since ink fills most of an image
RATIO = (0.3, 3.3)  # of its height to its width, from and to
Tensor = Any  # TensorFlow has no types
# Takes images (B, H, W, 1) uint8 and a seed as for `bits`; returns changed images of the same shape
Transformation = Callable[[Tensor, Tensor], Tensor]


def uniform(shape: tuple[int, ...], seed: Tensor, stream: int) -> Tensor:
    """Draw float32 in [0, 1), in steps of 1 / 65,536; `seed` as for `bits`."""
    return tf.cast(bits(shape, seed, stream), tf.float32) / 2**16


def dropout_mask(shape: tuple[int, ...], rate: float, seed: Tensor, stream: int) -> Tensor:
    """Draw a mask that keeps all but a share `rate` of the elements, bool; `seed` as for `bits`.

    `rate` counts in steps of 1 / 65,536.
    """
    return bits(shape, seed, stream) >= tf.constant(round(rate * 2**16), tf.uint16)


def bits(shape: tuple[int, ...], seed: Tensor, stream: int) -> Tensor:
    """Draw uint16, 16 random bits each: half the work of the 32 that TensorFlow draws for a float.

    Args:
        shape: of the result.
        seed: (2,) int64, a seed below 2^31 and the step.
        stream: which of the streams of numbers of that step.
    """
    n = math.prod(shape)
    own_seed = seed + tf.constant([stream << 32, 0], tf.int64)  # seeds use the lower 32 bits alone
    key = tf.random.stateless_uniform([2], own_seed, None, None, tf.uint32, alg="philox")
    x = tf.cast(tf.range(-(-n // 2)), tf.uint32) * WEYL + key[0]
    x = tf.bitwise.bitwise_xor(mixed(x, 16, 0x21F0AAAD), key[1])
    x = mixed(mixed(x, 15, 0xD35A2D97), 15, 1)
    return tf.reshape(tf.reshape(tf.bitcast(x, tf.uint16), [-1])[:n], shape)


def mixed(x: Tensor, shift: int, factor: int) -> Tensor:
    shifted = tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32))
    return tf.bitwise.bitwise_xor(x, shifted) * tf.constant(factor, tf.uint32)


def augmentation(settings: Augment, size: tuple[int, int]) -> Transformation:
    """Return all transformations that the settings ask for, as one function.

    Args:
        settings: of each transformation; one that is off costs nothing.
        size: height and width of the images, in pixels.
    """
    if not settings.enabled:
        return lambda images, seed: images
    distort = Distort(settings, size)

    def augment(images: Tensor, seed: Tensor) -> Tensor:
        images = distort(images, seed)
        return erase(settings.erasing, images, seed) if settings.erasing else images

    return augment


def variations(images: np.ndarray, settings: Augment, n: int, seed: int) -> np.ndarray:
    """Return images (N, H, W, 1) uint8, each with `n` variations: (N, 1 + n, H, W, 1).

    With augmentation off, that is each image by itself: (N, 1, H, W, 1).
    """
    originals = np.asarray(images)[:, np.newaxis]
    if not settings.enabled:
        return originals
    batch = tf.constant(np.repeat(images, n, axis=0))
    augmented = augmentation(settings, images.shape[1:3])
    varied = augmented(batch, tf.constant([seed, 0], tf.int64))
    varied = varied.numpy().reshape(-1, n, *images.shape[1:])
    return np.concatenate([originals, varied], axis=1)


class Distort:
    """Distorts a batch of images, with random numbers of a seed.

    Args:
        settings: the range of each transformation.
        size: height and width of the images, in pixels.
    """

    def __init__(self, settings: Augment, size: tuple[int, int]) -> None:
        self.settings, self.size = settings, size
        # with a black border of one pixel, which is what lies outside
        self.padded = size[0] + 2, size[1] + 2
        self.knots = settings.elastic_grid**2
        middles = (np.arange(length) - (length - 1) / 2 for length in size)
        rows, columns = (axis.ravel() for axis in np.meshgrid(*middles, indexing="ij"))
        # (knots + 3, H * W): weights of random numbers, row, column and 1 in a pixel's coordinate
        basis = elastic_basis(settings.elastic_grid, size)
        features = np.vstack([basis.T, rows, columns, rows * 0 + 1])
        self.features = features.astype(np.float32)

    def __call__(self, images: Tensor, seed: Tensor) -> Tensor:
        """Return distorted images (B, H, W, 1) uint8; `seed` as for `bits`, (2,) int64."""
        n, (height, width) = images.shape[0], self.padded
        rows, columns = self.coordinates(n, seed)
        top, left = tf.floor(rows), tf.floor(columns)
        down, right = rows - top, columns - left

        image = tf.range(n)[:, tf.newaxis] * (height * width)
        corner = image + tf.cast(top * width + left, tf.int32)
        four = tf.gather(pack(images), corner)
        upper = byte(four, 0) + right * (byte(four, 1) - byte(four, 0))
        lower = byte(four, 2) + right * (byte(four, 3) - byte(four, 2))
        moved = tf.round(upper + down * (lower - upper))
        return tf.cast(tf.reshape(moved, (n, *self.size, 1)), tf.uint8)

    def coordinates(self, n: int, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Return where each pixel comes from in the padded image: row and column, (N, H * W)."""
        s, knots = self.settings, self.knots
        random = 2 * uniform((n, 6 + 2 * knots), seed, DISTORT_STREAM) - 1
        affine, bend_rows, bend_columns = tf.split(random, [6, knots, knots], 1)
        ranges = [s.rotation, s.shear, s.scale, s.scale, s.shift, s.shift]
        turn, slant, taller, wider, down, right = tf.split(affine * ranges, 6, 1)
        last_row, last_column = (length - 1 for length in self.padded)
        bend = s.elastic * math.sqrt(3)  # uniform numbers of -1 to 1 deviate by 1 / sqrt(3)

        # what control points, the row, the column and 1 add to where a pixel comes from
        cos, sin, tall, wide = tf.cos(turn), tf.sin(turn), 1 + taller, 1 + wider
        rows = [bend * bend_rows, tall * cos, wide * -sin, down + last_row / 2]
        columns = [bend * bend_columns, tall * sin + slant, wide * cos, right + last_column / 2]
        rows, columns = tf.concat(rows, 1), tf.concat(columns, 1)

        coordinates = tf.matmul(tf.concat([rows, columns], 0), self.features)
        # inside, and the corner's neighbours, too
        inside_rows = tf.clip_by_value(coordinates[:n], 0.0, last_row - 1e-3)
        return inside_rows, tf.clip_by_value(coordinates[n:], 0.0, last_column - 1e-3)


def elastic_basis(knots: int, size: tuple[int, int]) -> np.ndarray:
    """Return the weights of a grid's control points in each pixel; (H * W, knots^2).

    Cubic B-splines, so that neighbouring pixels move alike and strokes stay whole.
    """
    positions = np.arange(-3.0, knots + 1)
    # of the pixels' middles
    at = ((np.arange(length) + 0.5) / length * (knots - 3) for length in size)
    rows, columns = (BSpline.design_matrix(points, positions, 3).toarray() for points in at)
    return np.kron(rows, columns).astype(np.float32)


def pack(images: Tensor) -> Tensor:
    """Pack each pixel of the padded images with its neighbours right, below and diagonal.

    (N, H, W, 1) uint8 become (N * (H + 2) * (W + 2),) uint32 of four bytes each, the pixel itself
    the lowest.
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
    shifted = tf.bitwise.right_shift(packed, tf.constant(8 * i, tf.uint32))
    return tf.cast(tf.bitwise.bitwise_and(shifted, tf.constant(255, tf.uint32)), tf.float32)


def erase(probability: float, images: Tensor, seed: Tensor) -> Tensor:
    """Return images (B, H, W, 1) uint8, some of them with a black rectangle.

    Random erasing (Zhong et al. 2020, arXiv:1708.04896).

    Args:
        probability: of each image.
        images: a batch.
        seed: as for `bits`.
    """
    n, height, width, _ = images.shape
    chance, area, ratio, down, right = tf.split(uniform((n, 5), seed, ERASE_STREAM), 5, 1)
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
