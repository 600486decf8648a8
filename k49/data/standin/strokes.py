"""How each class is written: its forms, and the way of the pen through each of them.

A class of cursive Japanese has several forms: the hiragana of today, and hentaigana, which come
from other kanji of the same sound. Strokes, in the order in which they are written, are those of
KanjiVG (Ulrich Apel, kanjivg.tagaini.net, CC BY-SA 3.0), from the package `kanjivg`.
"""

from collections import Counter
from functools import cache
from importlib.metadata import distribution

import numpy as np
from fontTools.pens.recordingPen import RecordingPen
from fontTools.svgLib import SVGPath

SAMPLES = 512  # points of a trajectory, equally far from each other

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
    found: list[list[np.ndarray]] = []
    for command, ends in pen.value:
        controls = np.array(ends, float)
        if command == "moveTo":
            found.append([controls[0]])
        elif command == "lineTo":
            found[-1].append(controls[0])
        elif command == "curveTo":
            found[-1].extend(bezier(np.vstack([found[-1][-1], controls])))
    return [np.array(stroke) for stroke in found]


def bezier(controls: np.ndarray) -> np.ndarray:
    """Return sixteen points on the cubic Bezier curve of controls (4, 2), without its start."""
    t = np.linspace(0, 1, 17)[1:, np.newaxis]
    bernstein = np.hstack([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3])
    return bernstein @ controls
