"""Strokes of characters, by KanjiVG (Ulrich Apel, kanjivg.tagaini.net, CC BY-SA 3.0).

In the order in which they are written, from the package `kanjivg`.
"""

from importlib.metadata import distribution

import numpy as np
from fontTools.pens.recordingPen import RecordingPen
from fontTools.svgLib import SVGPath

SAMPLES = 512  # points of a trajectory, equally far from each other


def trajectory(char: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the pen's path through a character: its strokes, joined by straight lines in the air.

    Returns:
        Points (SAMPLES, 2) float64, column and row, their box's longer side 1 and its middle 0; and
        for each 1.0 where the pen is on paper, 0.0 where it is in the air, (SAMPLES,).
    """
    drawn = strokes(char)
    # the way to a stroke's first point is in the air, that to its others on paper
    paper = np.concatenate([np.arange(len(stroke)) > 0 for stroke in drawn]).astype(float)
    paper[0] = 1
    points = np.concatenate(drawn)
    low, high = points.min(0), points.max(0)
    points = (points - (low + high) / 2) / (high - low).max()
    along = np.concatenate([[0], np.hypot(*np.diff(points, axis=0).T).cumsum()])
    at = np.linspace(0, along[-1], SAMPLES)
    columns, rows = (np.interp(at, along, axis) for axis in points.T)
    return np.stack([columns, rows], 1), paper[np.searchsorted(along, at)]


def strokes(char: str) -> list[np.ndarray]:
    """Return a character's strokes in writing order, each (n, 2), column and row, 0 to 109."""
    pen = RecordingPen()
    SVGPath(distribution("kanjivg").locate_file(f"kanji/{ord(char):05x}.svg")).draw(pen)
    drawn: list[list[np.ndarray]] = []
    for command, ends in pen.value:
        controls = np.array(ends, float)
        if command == "moveTo":
            drawn.append([controls[0]])
        elif command == "lineTo":
            drawn[-1].append(controls[0])
        elif command == "curveTo":
            drawn[-1].extend(bezier(np.vstack([drawn[-1][-1], controls])))
    return [np.array(stroke) for stroke in drawn]


def bezier(controls: np.ndarray) -> np.ndarray:
    """Return sixteen points on the cubic Bezier curve of controls (4, 2), without its start."""
    t = np.linspace(0, 1, 17)[1:, np.newaxis]
    bernstein = np.hstack([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3])
    return bernstein @ controls
