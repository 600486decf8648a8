"""Ink that is no part of a character: lines, frames, dark edges, neighbours, marks, show-through.

All by the place, the shape and the darkness of strokes. Something is left out only where what
remains may be a character.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

REMAINS = 0.1  # of the picture's longer side: what remains is at least so long
SPECK = 0.02  # share of the largest stroke's area below which a spot is no stroke

# A line from edge to edge, as shares of the picture's side:
MOST_SLOPE = 0.1  # 6 degrees
SLOPES = 41  # that are tried
THIN = 0.035  # how thick it is, at most
LONG = 0.7  # how much of its length is ink: it may be dotted or interrupted
ENDS = 0.06  # how far from the picture's edges it ends, at most
CLEAR = 0.3  # how much ink is beside it, as a share of its own, at most

# Strokes of two kinds of darkness:
TWO_KINDS = 0.88  # share of the variance between the kinds, at least
FAINT = 0.5  # darkness of the faint ones as a share of the others', at most
FAINT_SHARE = 0.08  # share of the faint ones, at least
HAIR, BROAD = 0.15, 0.42  # relative widths between which they are a brush's own faint ends
STEEP = 22  # how fast edges darken along the longer side, as a share: else they are blurred
ABOVE_FAINT = 0.3  # of the way from the faint ones to the others, from where on ink is kept
LEFT = 0.2  # share of the ink that is kept, at least

# Components:
EDGE, ALONG = 0.12, 0.5  # how near to the border, and along how much of it, the edge of a scan is
SOLID = 5  # what is thicker than the picture's longer side divided by this is no stroke
FRAGMENTS = 0.4  # of the other ink: more that touches the border belongs to the character
SURROUNDS = 0.8  # share of each side of the characters that a frame is beside
INSIDE = 0.3  # share of the frame that the characters take up, at least
FRAME_STROKE, FRAME_CLEAR = 0.7, 0.6  # a frame has thinner strokes, or this share of it is free
HAIRLINE = 0.45  # of the strokes' thickness: a line is thinner,
STRAIGHT = 0.15  # ... and less wide than this share of its length
MOST_MARKS = 0.2  # of all ink: more isn't of marks
MARK, AWAY = 0.3, 0.1  # a mark is smaller than this share of the character, and this far away

EIGHT_NEIGHBOURS = np.ones((3, 3))

Box = tuple[slice, slice]
Rules = Iterable[tuple[str, Callable]]  # names of what is left out, and functions without it


@dataclass(frozen=True, eq=False)
class Component:
    """Connected strokes."""

    inside: np.ndarray  # (h, w) bool, in its box
    top: int
    left: int
    sides: int  # of the picture's border that it touches

    @property
    def bottom(self) -> int:
        return self.top + self.inside.shape[0]

    @property
    def right(self) -> int:
        return self.left + self.inside.shape[1]

    @property
    def extent(self) -> int:
        return max(self.inside.shape)

    @cached_property
    def area(self) -> int:
        return int(self.inside.sum())

    @cached_property
    def thickness(self) -> float:
        """The mean width of its strokes: twice its area, by the length of its outline."""
        padded = np.pad(self.inside, 1)
        return 2 * self.area / int((padded & ~ndimage.binary_erosion(padded)).sum())

    def contains(self, other: "Component") -> bool:
        return (
            self.top < other.top
            and self.left < other.left
            and self.bottom > other.bottom
            and self.right > other.right
        )


def remove_clutter(
    strokes: np.ndarray, darkness: np.ndarray | None = None
) -> tuple[np.ndarray, list[str]]:
    """Return the strokes of characters, and names of what was left out.

    Args:
        strokes: (H, W) bool, as `without_lines` leaves them.
        darkness: (H, W), 0 to 1; without it, faint strokes stay.
    """
    names: list[str] = []
    if darkness is not None:
        strokes, _ = by_components(strokes)  # specks are no faint strokes
        strokes, names = without_faint(strokes, darkness)
    kept, more = by_components(strokes, RULES)
    return kept, names + more


def without_thin(strokes: np.ndarray) -> np.ndarray:
    """Return strokes without hairlines, frames that are thinner than they are, and dark edges."""
    return by_components(strokes, [("", without_edges), ("", without_hairlines)])[0]


def by_components(strokes: np.ndarray, rules: Rules = ()) -> tuple[np.ndarray, list[str]]:
    """Leave out specks, and what rules say; return the remaining strokes, and names."""
    parts, names = large_enough(components(strokes)), []
    for name, rule in rules:
        remaining = rule(parts, strokes.shape)
        if len(remaining) < len(parts):
            names.append(name)
        parts = large_enough(remaining)
    kept = np.zeros_like(strokes)
    for part in parts:
        kept[part.top : part.bottom, part.left : part.right] |= part.inside
    return kept, names


def components(strokes: np.ndarray) -> list[Component]:
    labels, _ = ndimage.label(strokes, EIGHT_NEIGHBOURS)
    height, width = strokes.shape
    parts = []
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        sides = (rows.start == 0) + (rows.stop == height)
        sides += (columns.start == 0) + (columns.stop == width)
        inside = labels[rows, columns] == label
        parts.append(Component(inside, rows.start, columns.start, int(sides)))
    return parts


def large_enough(parts: list[Component]) -> list[Component]:
    least = max(SPECK * max((part.area for part in parts), default=0), 3)
    return [part for part in parts if part.area >= least]


def bounds(mask: np.ndarray) -> Box:
    """Return the box around a mask that isn't empty."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return box


def extent_of(mask: np.ndarray) -> int:
    """Return the longer side of the box around a mask; 0 if it is empty."""
    return max(side.stop - side.start for side in bounds(mask)) if mask.any() else 0


# --- lines from edge to edge, also through strokes ---


def without_lines(strokes: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Remove straight lines from edge to edge, and leave the strokes that cross them.

    A Hough transform (R. O. Duda and P. E. Hart, 1972, doi:10.1145/361237.361242) of few slopes, at
    half the size.
    """
    height, width = (length // 2 * 2 for length in strokes.shape)
    fours = strokes[:height, :width].reshape(height // 2, 2, width // 2, 2)
    half = np.any(fours, axis=(1, 3))
    kept = strokes.copy()
    for slope, first, last in upright_lines(half):
        erase_line(strokes, kept, slope, 2 * first, 2 * last)
    for slope, first, last in upright_lines(half.T):
        erase_line(strokes.T, kept.T, slope, 2 * first, 2 * last)
    if np.array_equal(kept, strokes) or extent_of(kept) < REMAINS * max(strokes.shape):
        return strokes, []
    return kept, ["ruled lines"]


def upright_lines(mask: np.ndarray) -> list[tuple[float, int, int]]:
    """Return slope, first and last (exclusive) position, at half the height, of upright lines."""
    height, width = mask.shape
    y, x = np.nonzero(mask)
    thin = max(THIN * max(mask.shape), 2)
    slopes = np.linspace(-MOST_SLOPE, MOST_SLOPE, SLOPES)
    reach = int(np.ceil(MOST_SLOPE * height / 2)) + 1  # places that a slope may add on each side
    shifts = np.rint(slopes[:, None] * (np.arange(height) - height / 2)).astype(int)
    places = x - shifts[:, y] + reach
    counts = [np.bincount(place, minlength=width + 2 * reach) for place in places]
    ink = np.stack(counts) / height  # (slope, place): the share of a line that is ink
    lines = []
    while ink.max() >= LONG:
        which, at = np.unravel_index(ink.argmax(), ink.shape)
        row = ink[which]
        first, last = at, at + 1
        while first > 0 and row[first - 1] > row[at] / 2:
            first -= 1
        while last < len(row) and row[last] > row[at] / 2:
            last += 1
        around = slice(max(first - round(thin), 0), last + round(thin))
        beside = np.concatenate(
            [row[around.start : max(first - 1, 0)], row[last + 1 : around.stop]]
        )
        rows = y[(places[which] >= first) & (places[which] < last)]
        to_edges = rows.min() <= ENDS * height and rows.max() >= (1 - ENDS) * height - 1
        clear = not len(beside) or beside.mean() < CLEAR * row[at]
        if last - first <= thin and to_edges and clear:
            lines.append((float(slopes[which]), first - reach, last - reach))
        ink[:, around] = 0
    return lines


def erase_line(strokes: np.ndarray, kept: np.ndarray, slope: float, first: int, last: int) -> None:
    """Clear an upright line in `kept`, but where the strokes go on on both sides of it."""
    height, width = strokes.shape
    for y in range(height):
        shift = round(slope * (y - height / 2))
        start, stop = first + shift - 1, last + shift + 1
        crossing = start >= 2 and stop + 2 <= width
        crossing = crossing and strokes[y, start - 2 : start].all()
        if not (crossing and strokes[y, stop : stop + 2].all()):
            kept[y, max(start, 0) : max(stop, 0)] = False


# --- faint strokes ---


def without_faint(strokes: np.ndarray, darkness: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Leave out strokes that are much fainter than the others: of the leaf's other side, of rules.

    Only if the middles of strokes are of two kinds, which a threshold (N. Otsu, 1979,
    doi:10.1109/TSMC.1979.4310076) parts well, and the faint ones are not only narrower, as where a
    brush leaves the paper, and the picture isn't blurred.
    """
    middle = strokes & (darkness >= ndimage.maximum_filter(darkness, 5))
    values = darkness[middle]
    if len(values) < 10 or np.ptp(values) < 1e-6:
        return strokes, []
    faint = values <= threshold_otsu(values)
    low, high, share = values[faint].mean(), values[~faint].mean(), faint.mean()
    between = share * (1 - share) * (high - low) ** 2 / values.var()
    if between < TWO_KINDS or low > FAINT * high or share < FAINT_SHARE:
        return strokes, []
    width = widths(strokes)[middle]
    if HAIR < width[faint].mean() / width[~faint].mean() < BROAD:
        return strokes, []
    kept = strokes & (darkness > low + ABOVE_FAINT * (high - low))
    edge = kept & ~ndimage.binary_erosion(kept)
    steep = np.hypot(*np.gradient(darkness))[edge]
    if not len(steep) or np.median(steep) * max(strokes.shape) < STEEP * high:
        return strokes, []  # faint where the camera moved across them
    return (kept, ["faint strokes"]) if kept.sum() >= LEFT * strokes.sum() else (strokes, [])


def widths(mask: np.ndarray) -> np.ndarray:
    """Return how wide a stroke is at each of its pixels, along its row or column: the shorter."""
    return np.minimum(run_lengths(mask), run_lengths(mask.T).T)


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """Return for each pixel of a mask how many of its row's are connected with it."""
    places = np.arange(mask.shape[1])
    before = np.maximum.accumulate(np.where(mask, -1, places), axis=1)
    after = np.minimum.accumulate(np.where(mask, len(places), places)[:, ::-1], axis=1)[:, ::-1]
    return after - before - 1


# --- components by place and shape ---


def inner(parts: list[Component], shape: Sequence[int]) -> list[Component]:
    """Return the components that don't touch the border; none, if they can't be a character."""
    clear = [part for part in parts if not part.sides]
    longest = max((part.extent for part in clear), default=0)
    return clear if longest >= REMAINS * max(shape) else []


def without_edges(parts: list[Component], shape: Sequence[int]) -> list[Component]:
    """Leave out what lies along the border, and what touches it and is too thick for a stroke."""
    if not inner(parts, shape):
        return parts
    return [part for part in parts if not (part.sides and is_edge(part, shape))]


def is_edge(part: Component, shape: Sequence[int]) -> bool:
    """Return whether a component that touches the border is a dark edge, or solid."""
    height, width = shape
    inside = part.inside
    along = max(
        (part.top == 0) * inside[0].sum() / width,
        (part.bottom == height) * inside[-1].sum() / width,
        (part.left == 0) * inside[:, 0].sum() / height,
        (part.right == width) * inside[:, -1].sum() / height,
    )
    deep = round(EDGE * min(shape))
    rows = slice(max(deep - part.top, 0), max(height - deep - part.top, 0))
    columns = slice(max(deep - part.left, 0), max(width - deep - part.left, 0))
    if along >= ALONG and inside[rows, columns].sum() < 0.1 * part.area:
        return True
    side = max(shape)
    if part.area < (side / SOLID) ** 2:
        return False
    times = max(side // (8 * SOLID), 1)
    small = inside[::4, ::4]
    return bool(ndimage.binary_erosion(small, EIGHT_NEIGHBOURS, times, border_value=1).any())


def without_frames(parts: list[Component], shape: Sequence[int]) -> list[Component]:
    """Leave out what goes around all the rest and nowhere into it."""
    kept = list(parts)
    for part in sorted(parts, key=lambda part: -part.extent):
        rest = [other for other in kept if other is not part]
        inside = large_enough([other for other in rest if part.contains(other)])
        most = 2 * sum(other.area for other in inside) >= sum(other.area for other in rest)
        if inside and most and is_frame(part, inside):
            kept = rest
    return kept


def is_frame(part: Component, inside: list[Component]) -> bool:
    """Return whether a component is a frame around others."""
    top, left, bottom, right = box_of(inside)
    rows, columns = (
        slice(top - part.top, bottom - part.top),
        slice(left - part.left, right - part.left),
    )
    extent = max(bottom - top, right - left)
    ring = part.inside
    if ring[rows, columns].any() or extent < INSIDE * part.extent:
        return False
    sides = [
        ring[: rows.start, columns].any(0),
        ring[rows.stop :, columns].any(0),
        ring[rows, : columns.start].any(1),
        ring[rows, columns.stop :].any(1),
    ]
    if min(side.mean() for side in sides) < SURROUNDS:
        return False
    thinner = part.thickness <= FRAME_STROKE * largest(inside).thickness
    return bool(part.sides) or thinner or extent <= FRAME_CLEAR * part.extent


def without_hairlines(parts: list[Component], shape: Sequence[int]) -> list[Component]:
    """Leave out lines and frames that are much thinner than strokes, as the edges of a sheet."""
    if len(parts) < 2:
        return parts
    main = largest(parts)

    def is_line(part: Component) -> bool:
        straight = min(part.inside.shape) <= STRAIGHT * part.extent
        long = part.extent >= REMAINS * max(shape)
        return (straight and long) or part.contains(main)

    thin = HAIRLINE * main.thickness
    return [part for part in parts if part is main or part.thickness > thin or not is_line(part)]


def without_fragments(parts: list[Component], shape: Sequence[int]) -> list[Component]:
    """Leave out what touches the border, if it is little: it is of neighbours."""
    clear = inner(parts, shape)
    ink = sum(part.area for part in clear)
    touching = sum(part.area for part in parts if part.sides)
    return clear if clear and touching <= FRAGMENTS * ink else parts


def without_marks(parts: list[Component], shape: Sequence[int]) -> list[Component]:
    """Leave out small marks away from the characters, but not among them, and only little ink."""
    if not parts:
        return parts
    near = groups(parts, AWAY * largest(parts).extent)
    least = MARK * max(part.extent for part in parts)
    boxes = [box_of(group) for group in near]
    large = [max(bottom - top, right - left) >= least for top, left, bottom, right in boxes]
    top, left, bottom, right = box_of(
        [part for group, is_large in zip(near, large, strict=True) if is_large for part in group]
    )

    def is_among(box: tuple[int, int, int, int]) -> bool:
        return top <= (box[0] + box[2]) / 2 <= bottom and left <= (box[1] + box[3]) / 2 <= right

    kept = [
        part
        for group, box, is_large in zip(near, boxes, large, strict=True)
        if is_large or is_among(box)
        for part in group
    ]
    ink = sum(part.area for part in parts)
    return kept if sum(part.area for part in kept) >= (1 - MOST_MARKS) * ink else parts


def groups(parts: list[Component], gap: float) -> list[list[Component]]:
    """Put components together whose boxes are not farther apart than `gap`."""
    result: list[list[Component]] = []
    for part in parts:
        near = [group for group in result if any(distance(part, other) <= gap for other in group)]
        result = [group for group in result if group not in near]
        result.append([part, *(other for group in near for other in group)])
    return result


def distance(a: Component, b: Component) -> int:
    """Return how far two boxes are apart, along the axis where they are farther."""
    return max(a.top - b.bottom, b.top - a.bottom, a.left - b.right, b.left - a.right, 0)


def box_of(parts: list[Component]) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of the box around components."""
    top, left = min(part.top for part in parts), min(part.left for part in parts)
    return top, left, max(part.bottom for part in parts), max(part.right for part in parts)


def largest(parts: list[Component]) -> Component:
    return max(parts, key=lambda part: part.area)


RULES = (
    ("a dark edge", without_edges),
    ("a frame", without_frames),
    ("lines", without_hairlines),
    ("parts of neighbours", without_fragments),
    ("marks beside", without_marks),
)
