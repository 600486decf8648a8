"""The hands of books: how each writes every form, and which forms it prefers.

Running script is what a quick pen makes of square script: it cuts corners and stays on the paper
between strokes. A low-pass filter along a trajectory does the first, ink in the air the second.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import BSpline

from k49.data.standin.strokes import SAMPLES, forms, trajectory

POINTS = 192  # of a written path
KNOTS = 12  # control points along a path, by which it is bent

# How far books differ, drawn once a book; lengths in sizes of a character, angles in radians,
# stretch of the logarithm. Chosen by the table of `make calibrate`.
NARROW, RISE = 0.92, 0.08  # of all: narrower than square script, and rising to the right
SPREAD = np.array([0.06, 0.03, 0.05])  # standard deviations of slant, turn and stretch
FORM = 0.6  # how far each form of a book differs in these from the book, share of it
BEND = 0.04  # standard deviation of a control point
SPEED = (4.0, 18.0)  # deviation of the low-pass filter, samples of a trajectory, from, to
LIFT = (3.0, 1.0)  # pressure between strokes: a beta distribution, 1 is as on paper
PEN = (0.6, 1.2)  # deviation of the spot that the pen leaves, pixels, from, to
BRUSH = (0.1, 0.5)  # by what share its width depends on the direction, from, to
INK = (0.8, 1.2)  # how much of it, from, to
LOYALTY = 0.15  # the more, the fewer of a class's forms a book uses


@dataclass(frozen=True)
class Books:
    """The hands of B books for F forms, all float64."""

    path: np.ndarray  # (B, F, POINTS, 2) column and row, sizes of a character, 0 is its middle
    pressure: np.ndarray  # (B, F, POINTS) of the pen, 1 on paper, less where it was in the air
    pen: np.ndarray  # (B,) deviation of the spot that it leaves, pixels
    brush: np.ndarray  # (B,) by what share that is more or less in a direction
    angle: np.ndarray  # (B,) direction in which it is most, radians
    ink: np.ndarray  # (B,) how much of it
    joins: np.ndarray  # (B,) pressure on the way from a character to the next
    choice: np.ndarray  # (B, 49, M) share of the forms of a class up to this one: see `forms`

    def __len__(self) -> int:
        return len(self.pen)


def open_books(n: int, rng: np.random.Generator) -> Books:
    """Draw the hands of `n` books."""
    characters, _, common = forms()
    shape = n, len(characters)
    path, pressure = write(characters, rng.uniform(*SPEED, n))
    lift = rng.beta(*LIFT, (n, 1)) * rng.uniform(0.3, 1.0, shape)
    pressure += (1 - pressure) * lift[..., np.newaxis]
    path += bending() @ normal(rng, (*shape, KNOTS, 2), BEND)
    path = path @ (maps(shape, FORM * SPREAD, rng) @ maps((n, 1), SPREAD, rng))
    choice = rng.standard_gamma(np.where(common, common / LOYALTY, 0), (n, *common.shape))
    choice = np.cumsum(choice + 1e-9 * common, axis=-1)  # a Dirichlet distribution's sums
    return Books(
        path,
        pressure,
        pen=rng.uniform(*PEN, n),
        brush=rng.uniform(*BRUSH, n),
        angle=rng.uniform(0, np.pi, n),
        ink=rng.uniform(*INK, n),
        joins=rng.beta(*LIFT, n),
        choice=(choice / choice[..., -1:]),
    )


def write(characters: list[str], speeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write characters at speeds (B,): return `path` and `pressure` of `Books`."""
    points, paper = (np.array(part) for part in zip(*map(trajectory, characters), strict=True))
    points = points @ np.array([[NARROW, -RISE], [0, 1]])
    path = np.stack([low_pass(speed) @ points for speed in speeds])
    pressure = np.stack([paper @ low_pass(max(0.35 * speed, 1)).T for speed in speeds])
    return path, pressure


def low_pass(deviation: float) -> np.ndarray:
    """Return a Gaussian filter along a trajectory; (POINTS, SAMPLES)."""
    at = np.linspace(0, SAMPLES - 1, POINTS)[:, np.newaxis]
    weights = np.exp(-(((np.arange(SAMPLES) - at) / deviation) ** 2) / 2)
    return weights / weights.sum(1, keepdims=True)


@cache
def bending() -> np.ndarray:
    """Return what each control point adds to each point of a path; (POINTS, KNOTS).

    Cubic B-splines, so that neighbouring points move alike.
    """
    positions = np.arange(-3.0, KNOTS + 1)
    at = np.linspace(0, KNOTS - 3, POINTS, endpoint=False)
    return BSpline.design_matrix(at, positions, 3).toarray()


def maps(shape: tuple[int, ...], spread: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw slant, turn and stretch, to multiply from the right; (*shape, 2, 2)."""
    slant, turn, wide, tall = np.moveaxis(normal(rng, (*shape, 4), 1), -1, 0)
    slant, turn = slant * spread[0], turn * spread[1]
    wide, tall = np.exp(wide * spread[2]), np.exp(tall * spread[2])
    cos, sin = np.cos(turn), np.sin(turn)
    rows = [[wide * cos, wide * sin], [slant * cos - tall * sin, slant * sin + tall * cos]]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def normal(rng: np.random.Generator, shape: tuple[int, ...], spread: float) -> np.ndarray:
    """Draw normal numbers of standard deviation `spread`."""
    return rng.standard_normal(shape) * spread
