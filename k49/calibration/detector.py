"""Says how unlike an image is to all that a network was trained on: outliers, out of distribution.

A logistic regression on what all layers of the network make of an image: a score above 0 for
outliers, below for the dataset's own. What else was tried: docs/probabilities.md.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from k49.calibration.outliers import outliers
from k49.data import chunks, spread
from k49.settings import Detector
from k49.training.engine import SCORED_AT_ONCE

Tensor = Any  # TensorFlow has no types
IMAGES = 4_000  # of train at most, and as many outliers
REGULARIZATION = 100.0


def train_detector(model: keras.Model, images: np.ndarray, seed: int) -> Detector:
    """Train a detector on some of the images that the model was trained on, and on outliers.

    Args:
        model: trained, with its temperature.
        images: (N, H, W, 1) uint8, that it was trained on.
        seed: of what is drawn.
    """
    from sklearn.linear_model import LogisticRegression  # not while Keras is imported
    from sklearn.preprocessing import StandardScaler

    own = images[spread(len(images), IMAGES)]
    x = extract(compile_features(model), np.concatenate([own, outliers(own, seed)]))
    y = np.repeat([0, 1], len(own))
    scaler = StandardScaler().fit(x)
    found = LogisticRegression(C=1 / REGULARIZATION, max_iter=500).fit(scaler.transform(x), y)
    weights = found.coef_[0] / scaler.scale_
    bias = found.intercept_[0] - weights @ scaler.mean_
    return Detector(weights=weights.astype(np.float32).tolist(), bias=float(np.float32(bias)))


def outlier_scores(model: keras.Model, detector: Detector, images: np.ndarray) -> np.ndarray:
    """Return the score of each image (N, H, W, 1) uint8, (N,) float32."""
    features = compile_features(model)
    weights = np.array(detector.weights, np.float32)

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.uint8)], autograph=False)
    def score(x: Tensor) -> Tensor:
        return tf.linalg.matvec(features(x), weights) + detector.bias

    return extract(score, images)


def extract(function: Callable[[Tensor], Tensor], images: np.ndarray) -> np.ndarray:
    """Apply a function to images, some at once."""
    parts = chunks(len(images), SCORED_AT_ONCE)
    return np.concatenate([function(images[part]).numpy() for part in parts])


def compile_features(model: keras.Model) -> Callable[[Tensor], Tensor]:
    """Return the function from images (N, H, W, 1) uint8 to features (N, F) float32.

    Those are, in this order: of each layer with an activation the means of its channels over the
    image, the logits, and the logits once more, largest first.
    """
    activated = [layer.output for layer in model.layers[:-1] if has_activation(layer)]
    logits = model.layers[-1].input
    network = keras.Model(model.inputs, [*activated, logits])

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.uint8)], autograph=False)
    def features(images: Tensor) -> Tensor:
        results = network(images, training=False)
        *hidden, logits = results if isinstance(results, list) else [results]
        means = [tf.reduce_mean(x, list(range(1, len(x.shape) - 1))) for x in hidden]
        ordered = tf.sort(logits, direction="DESCENDING")
        return tf.concat([*means, logits, ordered], 1)

    return features


def has_activation(layer: keras.Layer) -> bool:
    """Return whether a layer ends in an activation."""
    activation = getattr(layer, "activation", None)
    return activation not in (None, keras.activations.linear)
