"""Moves, turns, stretches and bends images while a model trains, a whole batch at a time.

Every image of a batch gets an affine map and an elastic displacement of its own. Both are linear
in a few random numbers, so one matrix product gives where each pixel comes from; there the image is
interpolated. Everything is `keras.ops`, and so runs inside the training step on any backend.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from k49.data.warp import SIZE, elastic_basis
from k49.settings import Augment

PADDED = SIZE + 2  # with a black border of one pixel, which is what lies outside


class Distort(keras.layers.Layer):
    """Distorts images (N, 28, 28, 1) uint8 while training; passes them on untouched otherwise.

    Args:
        settings: the range of each transformation.
        seed: of the random numbers.
    """

    def __init__(self, settings: Augment, seed: int) -> None:
        super().__init__(name="distort")
        self.settings = settings
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.knots = settings.elastic_grid**2
        middle = np.arange(SIZE) - (SIZE - 1) / 2
        rows, columns = (axis.ravel() for axis in np.meshgrid(middle, middle, indexing="ij"))
        # (knots + 3, 784): what each random number, row, column and 1 add to a pixel's coordinate
        features = np.vstack([elastic_basis(settings.elastic_grid).T, rows, columns, rows * 0 + 1])
        self.features = features.astype(np.float32)

    def call(self, images: Any, training: bool = False) -> Any:  # the backend's tensors
        """Distort a batch of uint8 images; uint8 comes back."""
        if not training:
            return images
        n = ops.shape(images)[0]
        rows, columns = self.coordinates(n)
        top, left = ops.floor(rows), ops.floor(columns)
        down, right = rows - top, columns - left

        padded = ops.pad(images[..., 0], ((0, 0), (1, 1), (1, 1)))
        pixels = ops.cast(ops.reshape(padded, (n, PADDED**2)), "float32")
        corner = ops.cast(top * PADDED + left, "int32")

        def at(offset: int) -> Any:
            return ops.take_along_axis(pixels, corner + offset, axis=1)

        upper = at(0) + right * (at(1) - at(0))
        lower = at(PADDED) + right * (at(PADDED + 1) - at(PADDED))
        moved = ops.round(upper + down * (lower - upper))
        return ops.reshape(ops.cast(moved, "uint8"), (n, SIZE, SIZE, 1))

    def coordinates(self, n: Any) -> tuple[Any, Any]:
        """Where each pixel comes from: row and column in the padded image, each (N, 784)."""
        s = self.settings
        uniform = keras.random.uniform((6, n, 1), -1, 1, seed=self.seed_generator)
        turn, shear = uniform[0] * s.rotation, uniform[1] * s.shear
        tall, wide = 1 + uniform[2] * s.scale, 1 + uniform[3] * s.scale
        centre = (PADDED - 1) / 2
        down, right = uniform[4] * s.shift + centre, uniform[5] * s.shift + centre
        bend = keras.random.normal((2, n, self.knots), 0, s.elastic, seed=self.seed_generator)

        cos, sin = ops.cos(turn), ops.sin(turn)
        rows = ops.concatenate([bend[0], tall * cos, -wide * sin, down], 1)
        columns = ops.concatenate([bend[1], tall * sin + shear, wide * cos, right], 1)
        limit = PADDED - 1 - 1e-3  # so that the corner's neighbours are inside, too
        return (
            ops.clip(ops.matmul(rows, self.features), 0, limit),
            ops.clip(ops.matmul(columns, self.features), 0, limit),
        )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Distortion keeps the shape."""
        return input_shape


def variations(images: np.ndarray, settings: Augment, n: int, seed: int) -> np.ndarray:
    """Images (N, 28, 28, 1) uint8, each with what training makes of it: (N, 1 + n, 28, 28, 1).

    With augmentation off, that is each image by itself: (N, 1, 28, 28, 1).
    """
    originals = np.asarray(images)[:, np.newaxis]
    if not settings.enabled:
        return originals
    batch = np.repeat(images, n, axis=0)
    distorted = ops.convert_to_numpy(Distort(settings, seed)(batch, training=True))
    return np.concatenate([originals, distorted.reshape(-1, n, *images.shape[1:])], axis=1)
