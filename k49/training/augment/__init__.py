"""What happens to train images, each epoch anew, a whole batch at a time.

A transformation is a function of a batch and a seed. `augmentation` puts those together that the
settings ask for, in order; one that is off costs nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from k49.settings import Augment
from k49.training.augment.distort import Distort
from k49.training.augment.erase import erase
from k49.training.augment.mixup import Mixup

Tensor = Any  # TensorFlow has no types
# From images (B, H, W, 1) uint8, labels (B, C) float32 and a seed as in `rng` to both, changed
Transformation = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def augmentation(settings: Augment, size: tuple[int, int]) -> Transformation:
    """Return all transformations that the settings ask for, as one.

    Args:
        settings: of each.
        size: height and width of the images, in pixels.
    """
    chosen: list[Transformation] = []
    if settings.enabled:
        chosen.append(of_images(Distort(settings, size)))
    if settings.enabled and settings.erasing:
        chosen.append(of_images(partial(erase, settings.erasing)))
    if settings.enabled and settings.mixup:
        chosen.append(Mixup(settings.mixup))

    def in_order(images: Tensor, labels: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        for transformation in chosen:
            images, labels = transformation(images, labels, seed)
        return images, labels

    return in_order


def of_images(change: Callable[[Tensor, Tensor], Tensor]) -> Transformation:
    """Return a function of images and seed as one that leaves the labels as they are."""
    return lambda images, labels, seed: (change(images, seed), labels)


def variations(images: np.ndarray, settings: Augment, n: int, seed: int) -> np.ndarray:
    """Return images (N, H, W, 1) uint8, each with `n` variations: (N, 1 + n, H, W, 1).

    With augmentation off, that is each image by itself: (N, 1, H, W, 1).
    """
    originals = np.asarray(images)[:, np.newaxis]
    if not settings.enabled:
        return originals
    batch = tf.constant(np.repeat(images, n, axis=0))
    augmented = augmentation(settings, images.shape[1:3])
    varied, _ = augmented(batch, tf.zeros((len(batch), 1)), tf.constant([seed, 0], tf.int64))
    varied = varied.numpy().reshape(-1, n, *images.shape[1:])
    return np.concatenate([originals, varied], axis=1)
