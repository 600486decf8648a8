"""Smooth displacement of images, as the stand-in and augmentation both bend them."""

import numpy as np
from scipy.interpolate import BSpline

SIZE = 28  # pixels of an image, both ways


def elastic_basis(knots: int) -> np.ndarray:
    """What each control point of a knots x knots grid adds to each pixel; (784, knots^2) float32.

    Cubic B-splines, so that neighbouring pixels move alike and strokes stay whole.
    """
    positions = np.arange(-3.0, knots + 1)
    at = (np.arange(SIZE) + 0.5) / SIZE * (knots - 3)  # the middles of the pixels
    line = BSpline.design_matrix(at, positions, 3).toarray()  # (28, knots)
    return np.kron(line, line).astype(np.float32)
