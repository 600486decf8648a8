"""Detects outliers: images unlike all that a network was trained on.

A logistic regression on the activations of all layers: its score is above 0 for outliers, below for
the dataset's own images. docs/probabilities.md has what else was tried. It learns from images of
none of the classes: some are parts and groups of the dataset's own images, most are drawn: strokes,
noise, letters and digits of Pillow's font. (D. Hendrycks et al., 2019, arXiv:1812.04606, train the
network itself on outliers.)
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from k49.data import spread
from k49.settings import Detector
from k49.training.model import in_batches

Tensor = Any  # TensorFlow has no types
CANVAS = 64  # pixels, on which strokes and letters are drawn
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&?"
FRAME = 2  # pixels, around four small images
IMAGES = 4_000  # of train at most, and as many outliers
REGULARIZATION = 100.0


def outliers(images: np.ndarray, seed: int) -> np.ndarray:
    """Return as many outliers as there are images, (N, H, W, 1) uint8, light ink on black.

    Args:
        images: (N, H, W, 1) uint8, to make some of them of.
        seed: of the drawing.
    """
    rng = np.random.default_rng(seed)
    size = images.shape[1:3]
    result = np.empty((len(images), *size), np.uint8)
    for i, kind in enumerate(rng.integers(len(OF_IMAGES) + len(DRAWN), size=len(images))):
        if kind < len(OF_IMAGES):
            some = images[rng.integers(len(images), size=4), ..., 0]
            result[i] = resized(OF_IMAGES[kind](some, rng), size)
        else:
            result[i] = cut(DRAWN[kind - len(OF_IMAGES)](rng), size)
    return result[..., np.newaxis]


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch an image (H, W) uint8 to a size, the contrast full."""
    picture = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(ImageOps.autocontrast(picture))


def cut(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Cut a picture to its ink and make it an image of that size, as K49's are."""
    return np.asarray(
        ImageOps.autocontrast(ImageOps.pad(picture.crop(picture.getbbox()), size[::-1]))
    )


# --- of the dataset's own images, four of them (4, H, W) uint8 ------------------------------------


def enlarged(some: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a part of an image, a quarter to two thirds as long."""
    height, width = (int(length * rng.uniform(0.27, 0.67)) for length in some.shape[1:])
    top, left = (
        rng.integers(whole - part + 1)
        for whole, part in zip(some.shape[1:], (height, width), strict=True)
    )
    return np.ascontiguousarray(some[0][top : top + height, left : left + width])


def four(some: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put four images into one, and a frame around half of them."""
    whole = np.block([[some[0], some[1]], [some[2], some[3]]])
    return np.pad(whole, 2 * FRAME, constant_values=255) if rng.integers(2) else whole


# --- drawn, white on black ------------------------------------------------------------------------


def noise(rng: np.random.Generator) -> Image.Image:
    """Draw noise, fine or coarse, dense or sparse."""
    fine = rng.normal(128, 60, (CANVAS, CANVAS)).clip(0, 255).astype(np.uint8)
    blurred = Image.fromarray(fine).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 8)))
    values = np.asarray(ImageOps.autocontrast(blurred), float)
    low = np.quantile(values, rng.uniform(0.1, 0.9))
    values = (values - low).clip(0)
    return Image.fromarray((values * (255 / max(values.max(), 1))).astype(np.uint8))


def strokes(rng: np.random.Generator) -> Image.Image:
    """Draw lines between the points of a grid: up to five, bent and joined, or up to 14 finer ones.

    The latter look like kanji: most of them are upright or level.
    """
    picture = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(picture)
    n = int(rng.integers(1, rng.choice([6, 15])))
    few = n < 6
    thickness = int(rng.integers(2, 9 if few else max(3, 9 - n // 2)))
    grid = np.linspace(10, CANVAS - 10, 3 + rng.integers(2) + n // 5)
    start = rng.choice(grid, 2)
    for _ in range(n):
        start = start if few and rng.random() < 0.75 else rng.choice(grid, 2)
        end = rng.choice(grid, 2)
        if rng.random() < (0.5 if few else 0.75):  # upright or level
            keep = rng.integers(2)
            end[keep] = start[keep]
        bend = few * rng.uniform(-1.2, 1.2) * rng.integers(2) * (end - start)[::-1] * (1, -1)
        t = np.linspace(0, 1, 16)[:, np.newaxis]  # a quadratic Bezier curve
        middle = (start + end) / 2 + bend
        curve = (1 - t) * ((1 - t) * start + t * middle) + t * ((1 - t) * middle + t * end)
        draw.line([tuple(point) for point in curve], 255, thickness, joint="curve")
        start = end
    return picture


def letter(rng: np.random.Generator) -> Image.Image:
    picture = Image.new("L", (CANVAS, CANVAS))
    ImageDraw.Draw(picture).text(
        (CANVAS / 2, CANVAS / 2),
        LETTERS[rng.integers(len(LETTERS))],
        fill=255,
        font=ImageFont.load_default(36),
        anchor="mm",
        stroke_width=int(rng.integers(3)),
    )
    return picture.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR)


OF_IMAGES = (enlarged, four)
DRAWN = (noise, strokes, strokes, letter, letter)


def train_detector(model: keras.Model, images: np.ndarray, seed: int) -> Detector:
    """Train a detector on some of the images that the model was trained on, and on outliers.

    Args:
        model: trained, with its temperature.
        images: (N, H, W, 1) uint8, that it was trained on.
        seed: of the drawing.
    """
    from sklearn.linear_model import LogisticRegression  # not while Keras is imported
    from sklearn.preprocessing import StandardScaler

    own = images[spread(len(images), IMAGES)]
    x = in_batches(compile_features(model), np.concatenate([own, outliers(own, seed)]))
    y = np.repeat([0, 1], len(own))
    scaler = StandardScaler().fit(x)
    classifier = LogisticRegression(C=1 / REGULARIZATION, max_iter=500).fit(scaler.transform(x), y)
    weights = classifier.coef_[0] / scaler.scale_
    bias = classifier.intercept_[0] - weights @ scaler.mean_
    return Detector(weights=weights.astype(np.float32).tolist(), bias=float(np.float32(bias)))


def outlier_scores(model: keras.Model, detector: Detector, images: np.ndarray) -> np.ndarray:
    """Return the score of each image (N, H, W, 1) uint8, (N,) float32."""
    features = compile_features(model)
    weights = np.array(detector.weights, np.float32)

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.uint8)], autograph=False)
    def score(x: Tensor) -> Tensor:
        return tf.linalg.matvec(features(x), weights) + detector.bias

    return in_batches(score, images)


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
    activation = getattr(layer, "activation", None)
    return activation not in (None, keras.activations.linear)
