"""Calibrates the probabilities of a trained model on validation images."""

import math
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers
from scipy.optimize import minimize_scalar

from k49.calibration.detector import outlier_scores, train_detector
from k49.data import Dataset, spread
from k49.settings import Calibration, Detector
from k49.training.model import predict_proba
from k49.tta import sharpen

IMAGES = 10_000  # of validation at most: enough for each of the figures
REFUSED = 0.02  # share of correctly read images that are called uncertain, and of all, outliers
SMALLEST = np.finfo(np.float32).tiny  # probability, of which a logarithm is taken
EXPONENTS = (0.05, 20.0)  # between which they are looked for


@dataclass(frozen=True)
class Calibrated:
    model: keras.Model
    calibration: Calibration
    detector: Detector


def calibrate(
    model: keras.Model, train: Dataset, val: Dataset, shifts: int, seed: int
) -> Calibrated:
    """Calibrate a model on validation.

    One temperature, fitted by negative log-likelihood (C. Guo et al., 2017, arXiv:1706.04599), and
    one exponent for means over shifts; then the thresholds, each so that REFUSED of validation's
    images are on its wrong side.

    Args:
        model: trained, without a temperature.
        train: its training data, for the detector of outliers.
        val: to fit to.
        shifts: that predictions are averaged over.
        seed: of the outliers.
    """
    chosen = spread(len(val), IMAGES)
    images, labels = val.images[chosen], val.labels[chosen].argmax(1)
    plain = predict_proba(model, images)
    inverse_temperature = fit_exponent(plain, labels)
    model = with_temperature(model, inverse_temperature)
    probabilities = sharpen(plain, inverse_temperature)  # as the calibrated network gives them
    averaged = predict_proba(model, images, shifts) if shifts else probabilities
    exponent = fit_exponent(averaged, labels) if shifts else 1.0
    detector = train_detector(model, train.images, seed)
    scores = outlier_scores(model, detector, images)
    calibration = Calibration(
        inverse_temperature=inverse_temperature,
        exponent=exponent,
        certain=least_certain(probabilities, labels),
        averaged_certain=least_certain(sharpen(averaged, exponent), labels),
        outlier=round(float(np.quantile(scores, 1 - REFUSED)), 4),
    )
    return Calibrated(model, calibration, detector)


def with_temperature(model: keras.Model, inverse_temperature: float) -> keras.Model:
    """Return the same network with its logits scaled, before the softmax, by a layer of Keras'."""
    logits = model.layers[-1].input
    scaled = layers.Rescaling(inverse_temperature, name="inverse_temperature")(logits)
    return keras.Model(model.inputs, layers.Softmax(name="probabilities")(scaled), name=model.name)


def fit_exponent(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the exponent with which probabilities (N, C) fit labels (N,) best.

    The same as an inverse temperature of the logits: those are log probabilities, but for a
    constant in each row. N images count, and one more that is read wrongly, as any other class:
    without an error among them, the best exponent would be infinite, though N images can't show
    that there are fewer errors than one in N + 2 (Laplace's rule of succession; J. Platt, 1999,
    smooths targets of sigmoids in the same way).
    """
    n, classes = probabilities.shape
    rows, predicted = np.arange(n), probabilities.argmax(1)

    def nll(exponent: float) -> float:
        logs = np.log(np.maximum(sharpen(probabilities, exponent), SMALLEST))
        wrongly = (logs.sum(1) - logs[rows, predicted]) / (classes - 1)
        return -float(logs[rows, labels].sum() + wrongly.mean())

    low, high = np.log(EXPONENTS)
    minimum = minimize_scalar(lambda x: nll(np.exp(x)), bounds=(low, high), method="bounded")
    return round(float(np.exp(minimum.x)), 4)


def least_certain(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the probability below which REFUSED of the correctly read images are.

    Rounded down: of probabilities that round to 1, none would be certain.
    """
    right = probabilities.argmax(1) == labels
    chosen = probabilities.max(1)[right]
    return math.floor(np.quantile(chosen, REFUSED) * 1e9) / 1e9 if len(chosen) else 1.0
