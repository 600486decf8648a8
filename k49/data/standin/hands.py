"""The hands of books: how each writes every form of a character, and which forms it prefers.

A class of cursive Japanese has several forms: the hiragana of today, and hentaigana, which come
from other kanji of the same sound.

Running script is square script written quickly: the pen cuts corners and stays on the paper
between strokes. A low-pass filter along a trajectory does the first, ink in the air the second.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import BSpline

from k49.kanjivg import SAMPLES, trajectory

# The forms of each class, in the order of K49, each as often in its word as books
# choose it, roughly: a judgement of ours and no count. The hiragana stands first.
TABLE = """
    ああああああ阿阿愛悪 いいいいいい以以伊移意 うううううう宇宇有 ええええ衣江江盈
    おおおお於於於 かかかか可可可可閑我 ききききき起起幾支喜 くくくくくく久具
    けけけけ介介計希遣 こここここ古己故 さささささ左左佐散 しししししし志志之新
    すすす春春春須須須寸 せせせせせせ世勢 そそそそそ曽楚所 たたたた多多多堂堂太
    ちちちちちち知地千 つつつ川川徒徒徒津 ててててててて帝天亭 ととととと登登登止
    ななななな那那那奈難 にに尓尓尓耳耳丹仁 ぬぬぬぬぬ奴怒 ねねねね年年祢子
    のののののの能能乃農 は者者者者八八波盤 ひひひひひ飛飛比悲 ふふふふふ婦婦不布
    へへへへへへ遍部 ほほほほほ本保 ままままま満満満万末 みみみみ三三美見
    むむむむむ無武 めめめめめめ免女 もももも毛毛茂母 ややや屋屋屋夜也
    ゆゆゆゆゆ遊由 よよよよよよ与余 らららららら良羅 りりりり里里里利理
    るるるる留流累類 れれれ連連連連礼礼 ろろろろ呂路 わわわわ王王和
    ゐゐゐゐ井為 ゑゑゑゑ衛恵 をををを越越越遠乎 んんんんん无
    ゝ
"""
FORMS = TABLE.split()

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


@cache
def forms() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return all forms of characters, and those that each class is written with.

    Returns:
        The F characters; which of them each class has, (49, M) int64, where a class with fewer than
        M repeats its first; how common each is, (49, M) float64, shares of 1 of a class, 0 where it
        repeats.
    """
    counted = [Counter(word) for word in FORMS]
    characters = [char for counts in counted for char in counts]
    shape = len(counted), max(map(len, counted))
    which, common = np.zeros(shape, np.int64), np.zeros(shape)
    for label, counts in enumerate(counted):
        which[label] = characters.index(FORMS[label][0])
        which[label, : len(counts)] = [characters.index(char) for char in counts]
        common[label, : len(counts)] = np.array(list(counts.values())) / counts.total()
    return characters, which, common


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
    """Return the weight of each control point in each point of a path; (POINTS, KNOTS).

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
    return rng.standard_normal(shape) * spread
