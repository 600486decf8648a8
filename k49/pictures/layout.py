"""Which parts of the ink are characters: one, a column, a row, or several of them.

White space parts the ink into runs. A character is one run or several that follow each other, as い
and こ are. Of all ways to put runs together the best is taken: that whose characters are of about
one size and, where a model reads them, raise the least doubt (segmentation by recognition: R. G.
Casey and E. Lecolinet, 1996, doi:10.1109/34.506792). Characters that touch stay together.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from k49.pictures.clutter import Box, bounds
from k49.text import ReadingOrder

# A character adds so much to the score of a layout, ...
WORTH = 1.0
# ... less, as much as it is large, its doubt, and half the square of how far its size is from the
# others', in standard deviations of the logarithm of smaller and of larger ones, up to a limit, ...
SMALLER, LARGER = 0.3, 0.2
MOST_DOUBT = 6.0
# ... and less this for each factor of e by which it is narrower than this share of the size.
NARROW, NARROWER = 0.5, 0.6
OUTLIER = 0.3  # what a model's score for outliers, above its threshold, adds to the doubt
SIZES = np.exp(np.arange(-0.7, 0.95, 0.1))  # of characters, in widths of the widest column or row
MOST_PARTS = 6  # runs of a character along its line,
MOST_ACROSS = 3  # ... and across it
MOST_PLACES = 3000  # that are weighed: what has more is no text
ROUNDS = 60  # of asking for doubts, at most
# A picture shows one character, unless the score of several is so much higher; the second, where
# there is no doubt about it, and it isn't so much longer than wide or wider than long:
SURER, FAR_SURER = 0.5, 2.0
COLUMN, ROW = 1.6, 2.4
LONGEST = 2.5  # times as long as wide, or as wide as long: longer ones may be several that touch
LARGEST = 1.6  # times as large as the others of a picture, likewise
MANY_PARTS = 6  # more separate strokes than a character has


@dataclass(frozen=True)
class Layout:
    """How the characters of a picture are told apart.

    Attributes:
        order: "vertical" reads columns from the right, "horizontal" rows from the top; "auto" takes
            what fits better, and if both do, columns, but a single row from the left.
        doubts: returns how little images (N, H, W) uint8 look like characters, (N,), from 0 up;
            without it, sizes alone tell them apart.
    """

    order: ReadingOrder = "auto"
    doubts: Callable[[np.ndarray], np.ndarray] | None = None


LAYOUT = Layout()


def doubts_of(probabilities: np.ndarray, outlier_scores: np.ndarray, certain: float) -> np.ndarray:
    """Return doubts of images, (N,).

    Args:
        probabilities: (N,), of the likeliest classes.
        outlier_scores: (N,), above 0 for outliers.
        certain: the probability from which a model's answer is certain: a model that is sure of
            little doubts no more than another.
    """
    unsure = np.log(certain) - np.log(np.maximum(probabilities, 1e-9))
    return OUTLIER * np.maximum(outlier_scores, 0) + np.maximum(unsure, 0)


class Place(NamedTuple):
    """The box of a character."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def box(self) -> Box:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def sides(self) -> tuple[int, int]:
        """The longer and the shorter side."""
        height, width = self.bottom - self.top, self.right - self.left
        return max(height, width), min(height, width)


Judge = Callable[[list[Place]], np.ndarray]  # doubts of places
Lines = list[list[Place]]  # the characters of each column from the left, or row from the top


class Table:
    """The best ways to each run, for each size of characters."""

    def __init__(self, runs: int, sizes: np.ndarray) -> None:
        self.score = np.full((runs + 1, len(sizes)), -np.inf)  # the highest
        self.score[0] = 0
        self.back = np.zeros(self.score.shape, int)  # number of what ends there

    def keep_better(self, first: int, last: int, added: np.ndarray, number: int) -> None:
        """Take what leads from a run to another, for sizes where no way was better."""
        score = self.score[first] + added
        better = score > self.score[last]
        self.score[last, better] = score[better]
        self.back[last, better] = number


@dataclass
class Line:
    """A column or row, and the places that its characters may have."""

    first: int  # run across, and the last, exclusive
    last: int
    length: int  # runs along it
    places: list[tuple[int, int, Place]]  # first and last (exclusive) run of each
    ways: Table = field(init=False)  # to put its runs together, by numbers of `places`

    def weigh(self, sizes: np.ndarray, doubts: dict[Place, float]) -> None:
        """Compute the best way to put the runs together, for each size of characters."""
        self.ways = Table(self.length, sizes)
        for number, (first, last, place) in enumerate(self.places):
            self.ways.keep_better(first, last, worth(place, sizes, doubts.get(place, 0.0)), number)

    def best(self, size: int) -> list[Place]:
        """Return the places of the best way, for the size of that number."""
        chosen, last = [], self.length
        while last:
            last, _, place = self.places[self.ways.back[last, size]]
            chosen.append(place)
        return chosen[::-1]


def arrange(
    mask: np.ndarray, order: ReadingOrder, judge: Judge | None
) -> tuple[float, list[Place]]:
    """Return the score of the best layout, and the places of its characters in reading order.

    Args:
        mask: (H, W) bool, of some ink.
        order: as of `Layout`.
        judge: returns doubts of places.
    """
    rows, columns = bounds(mask)
    whole = Place(rows.start, rows.stop, columns.start, columns.stop)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    ask = judge or (lambda places: np.zeros(len(places)))
    doubts = {whole: float(ask([whole])[0])}
    widest = min(max(stop - start for start, stop in runs(mask.any(axis))) for axis in (0, 1))
    readings = [
        (down, *search(find_lines(mask, down), SIZES * widest, doubts, ask))
        for down in (True, False)
        if order != ("horizontal" if down else "vertical")
    ]
    down, score, lines = readings[0]
    for other in readings[1:]:
        better = round(other[1] - score, 6)
        if better > 0 or (better == 0 and len(other[2]) == 1):
            down, score, lines = other
    elongated = height > COLUMN * width or width > ROW * height
    surer = SURER if elongated or doubts[whole] > 0 else FAR_SURER
    one = WORTH - doubts[whole]
    if score <= one + surer:
        return one, [whole]
    return score, [place for line in (lines[::-1] if down else lines) for place in line]


def search(
    lines: list[Line], sizes: np.ndarray, doubts: dict[Place, float], ask: Judge
) -> tuple[float, Lines]:
    """Return the score and the characters of the best columns, or rows.

    A doubt is asked for only once its place is in the layout that would be best without it: the
    result is the same as with the doubts of all.
    """
    if not lines:
        return -np.inf, []
    for line in lines:
        line.weigh(sizes, doubts)
    for _ in range(ROUNDS):
        score, chosen = best_lines(lines, sizes)
        unknown = [place for line in chosen for place in line if place not in doubts]
        if not unknown:
            break
        doubts.update(zip(unknown, ask(unknown).tolist(), strict=True))
        for line in lines:
            if any(place in unknown for _, _, place in line.places):
                line.weigh(sizes, doubts)
    return score, chosen


def worth(place: Place, sizes: np.ndarray, doubt: float) -> np.ndarray:
    """Return what a character adds to the score of a layout, for each size of characters."""
    longer, shorter = place.sides
    away = np.log(longer / sizes)
    away /= np.where(away < 0, SMALLER, LARGER)
    narrow = np.maximum(np.log(NARROWER * sizes / shorter), 0)
    badness = np.minimum(away**2 / 2 + doubt, MOST_DOUBT)
    return WORTH - longer / sizes * badness - NARROW * narrow


def runs(inked: ArrayLike) -> list[tuple[int, int]]:
    """Return first and last (exclusive) of the places that follow each other and have ink."""
    edges = np.flatnonzero(np.diff(inked, prepend=False, append=False))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def find_lines(mask: np.ndarray, down: bool) -> list[Line]:
    """Return all columns, or rows, that runs may be put together to; none if they are too many."""
    if not down:
        mask = mask.T
    across, lines, count = runs(mask.any(0)), [], 0
    for first in range(len(across)):
        for last in range(first + 1, min(first + MOST_ACROSS, len(across)) + 1):
            start, stop = across[first][0], across[last - 1][1]
            inside = mask[:, start:stop]
            along = runs(inside.any(1))
            sides = [np.flatnonzero(inside[slice(*run)].any(0))[[0, -1]] + start for run in along]
            places = []
            for a in range(len(along)):
                for b in range(a + 1, min(a + MOST_PARTS, len(along)) + 1):
                    low, high = int(np.min(sides[a:b])), int(np.max(sides[a:b])) + 1
                    ends = along[a][0], along[b - 1][1]
                    place = Place(*ends, low, high) if down else Place(low, high, *ends)
                    places.append((a, b, place))
            lines.append(Line(first, last, len(along), places))
            count += len(places)
            if count > MOST_PLACES:
                return []
    return lines


def best_lines(lines: list[Line], sizes: np.ndarray) -> tuple[float, Lines]:
    """Return the highest score of lines side by side, and their characters."""
    count = max(line.last for line in lines)
    ways = Table(count, sizes)
    for number, line in enumerate(lines):
        ways.keep_better(line.first, line.last, line.ways.score[-1], number)
    size = int(ways.score[-1].argmax())
    chosen, last = [], count
    while last:
        line = lines[ways.back[last, size]]
        chosen.append(line.best(size))
        last = line.first
    return float(ways.score[-1, size]), chosen[::-1]


def may_be_several(mask: np.ndarray, places: list[Place]) -> list[int]:
    """Return numbers of characters that may be several that touch: by their shape and parts."""
    usual = float(np.median([place.sides[0] for place in places]))
    numbers = []
    for number, place in enumerate(places):
        longer, shorter = place.sides
        long = longer > (LONGEST * shorter if len(places) == 1 else LARGEST * usual)
        if long or parts_of(mask[place.box]) > MANY_PARTS:
            numbers.append(number)
    return numbers


def parts_of(inside: np.ndarray) -> int:
    """Return how many separate strokes a character has; small ones don't count."""
    longer = max(inside.shape)
    grown = ndimage.binary_dilation(np.pad(inside, 1), iterations=max(longer // 50, 1))
    parts = ndimage.find_objects(ndimage.label(grown)[0])
    extents = [max(side.stop - side.start for side in part) for part in parts]
    return sum(extent >= longer / 12 for extent in extents)
