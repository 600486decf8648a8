"""The pictures: each function takes data and returns a matplotlib Figure."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib
import matplotlib_fontja
import numpy as np
from matplotlib import font_manager, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from k49.data import Dataset, spread
from k49.evaluation.probabilities import AVERAGED, PLAIN, UNCALIBRATED
from k49.io import atomic_write

font_manager.fontManager.addfont(matplotlib_fontja.get_font_ttf_path())
STYLE = {
    "font.family": ["DejaVu Sans", "IPAexGothic"],  # the second has Japanese, which the first lacks
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "text.parse_math": False,  # a class may be called $
}
BLUE, ORANGE, GREY = "#1f77b4", "#d9541e", "#888888"
MISTAKES = (48, 8)  # images at most, and columns, of the gallery
EXAMPLES = 6  # images of a class next to its one-hot label
SMALLEST_LETTER = 5.0  # points
MOST_LETTERS = 12  # of a class's name


def figure_style(**changes: object) -> AbstractContextManager[None]:
    """Return a context in which figures look like ours, whatever a matplotlibrc says."""
    return style.context(["default", {**STYLE, **changes}])


def set_margins(figure: Figure, *inches: float, **spaces: float) -> None:
    """Set the margins around the axes: left, right, bottom, top.

    Matplotlib's layout engines find them, too, but take longer than all the drawing.
    """
    left, right, bottom, top = inches
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left / width, bottom / height, 1 - right / width, 1 - top / height, **spaces
    )


def save(figure: Figure, path: Path) -> None:
    """Write a PNG that is the same bytes every time."""
    with figure_style(), atomic_write(path) as tmp:
        figure.savefig(tmp, dpi=110, metadata={"Software": None})


def label_epochs(axes: Axes, metric: str) -> None:
    """Name the axes of a metric against whole epochs; accuracy in percent.

    Curves fill the axes from a tenth of the epochs on: what lies before would squeeze all else.
    """
    unit = {"loss": "loss (categorical cross-entropy)"}.get(metric, metric)
    axes.set(xlabel="epoch", ylabel=unit)
    axes.xaxis.get_major_locator().set_params(integer=True)
    curves = [np.asarray(line.get_ydata(), float) for line in axes.get_lines()]
    later = np.concatenate([curve[(len(curve) + 9) // 10 :] for curve in curves])
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    if len(later) > 1 and np.ptp(later):
        room = 0.05 * np.ptp(later)
        axes.set_ylim(later.min() - room, later.max() + room)


def name_ticks(axes: Axes, axis: str, names: Sequence[str], length: float, size: float) -> None:
    """Put names at 0, 1, 2, ... of an axis: smaller where they are many, then not all of them.

    Args:
        axes: whose.
        axis: "x" or "y"; long names stand upright below an x axis.
        names: to put there.
        length: of the axis, inches.
        size: of letters at most, points.
    """
    every = -(-len(names) * SMALLEST_LETTER // (72 * length))  # rounded up
    shown = range(0, len(names), int(every))
    size = min(size, 72 * length / len(names) * every)
    upright = axis == "x" and max(map(len, names)) > 2
    labels = [shortened(names[i]) for i in shown]
    set_ticks = axes.set_xticks if axis == "x" else axes.set_yticks
    set_ticks(shown, labels, fontsize=size, rotation=90 if upright else 0)


def shortened(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


def margin_of(names: Sequence[str], size: float = 10.0) -> float:
    """Return the inches that names take next to an axis, more than single characters."""
    return (min(max(map(len, names)), MOST_LETTERS) - 1) * 0.6 * size / 72


def calibration(reliability: list[dict], coverage: list[dict], dataset: str) -> Figure:
    """Draw accuracy against probability, and against the share of images that are read.

    Args:
        reliability: rows of `plots/reliability.json`.
        coverage: rows of `plots/coverage.json`.
        dataset: what to call the data.
    """
    colours = {UNCALIBRATED: GREY, PLAIN: BLUE, AVERAGED: ORANGE}
    with figure_style():
        figure = Figure((10, 4.6))
        set_margins(figure, 0.85, 0.2, 0.55, 0.75, wspace=0.28)
        left, right = figure.subplots(1, 2)
        left.plot(
            [0, 1], [0, 1], color="k", linewidth=0.8, linestyle=":", label="perfectly calibrated"
        )
        for axes, rows, x in ((left, reliability, "confidence"), (right, coverage, "coverage")):
            for name in dict.fromkeys(row["probabilities"] for row in rows):
                points = [(row[x], row["accuracy"]) for row in rows if row["probabilities"] == name]
                form = "o-" if axes is left else "-"
                axes.plot(*zip(*points, strict=True), form, color=colours[name], label=name, ms=4)
            axes.legend(frameon=False)
            axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, axes is right))
            axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
        lowest = min(min(row["confidence"], row["accuracy"]) for row in reliability)
        left.set(xlim=(lowest - 0.02, 1.01), ylim=(lowest - 0.02, 1.01))
        left.set(xlabel="probability of what was read", ylabel="read correctly")
        left.set_title("Reliability: a point for each fifteenth of the images", fontsize=10)
        right.set(xlabel="share of the images that are read, the surest", ylabel="read correctly")
        right.set_title("Coverage", fontsize=10)
        figure.suptitle(f"Calibration on test: {dataset}")
        return figure


def mistakes(
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    dataset: str,
) -> Figure:
    """Draw the wrong predictions that the model was surest of.

    Args:
        images: (N, H, W, 1) uint8.
        probabilities: (N, C).
        labels: (N,).
        classes: their names, C of them.
        dataset: what to call the data.
    """
    predicted = probabilities.argmax(1)
    sureness = np.where(predicted == labels, -1, probabilities.max(1))
    wrong = np.count_nonzero(predicted != labels)
    most, columns = MISTAKES
    worst = np.argsort(-sureness, kind="stable")[: min(wrong, most)]
    with figure_style():
        figure = Figure((11, 0.6 + 1.75 * max(1, -(-len(worst) // columns))))
        set_margins(figure, 0.1, 0.1, 0.1, 0.35)
        axes = figure.subplots()
        cells = tile(axes, images[worst], columns, above=14)
        for (x, y), i in zip(cells, worst, strict=True):
            true, predicted_class = (
                shortened(classes[label]) for label in (labels[i], predicted[i])
            )
            size = 12 if len(true + predicted_class) <= 4 else 7
            title = f"{true} → {predicted_class}  {sureness[i]:.0%}"
            axes.text(x, y - 4, title, fontsize=size, ha="center", va="bottom")
            axes.text(x, y, f"image {i}", fontsize=7, ha="center", va="bottom", color=GREY)
        figure.suptitle(
            f"Worst mistakes on test (true → predicted, how sure): "
            f"{dataset}, {len(worst)} of {wrong} wrong in {len(labels)} images",
            fontsize=11,
        )
        return figure


def tile(axes: Axes, images: np.ndarray, columns: int, above: int = 2) -> list[tuple[float, float]]:
    """Draw images (N, H, W, 1) in rows of so many, dark on light.

    One array in one pair of axes: a pair for each image would take Matplotlib ten times as long.

    Args:
        axes: to draw into.
        images: uint8, light on black; there may be none.
        columns: images in a row.
        above: pixels that are left free above each.

    Returns:
        For each image the middle of its upper edge, in the coordinates of `axes`.
    """
    rows, gap = max(1, -(-len(images) // columns)), 2
    height, width = images.shape[1] + above, images.shape[2] + gap
    cells = np.zeros((rows * columns, height, width), np.uint8)
    cells[: len(images), above:, gap:] = images[..., 0]
    whole = cells.reshape(rows, columns, height, width).swapaxes(1, 2)
    axes.imshow(whole.reshape(rows * height, -1), cmap="gray_r", vmin=0, vmax=255)
    axes.axis("off")
    middle = gap + (images.shape[2] - 1) / 2
    return [
        (i % columns * width + middle, i // columns * height + above - 1)
        for i in range(len(images))
    ]


def augmentation(variations: np.ndarray, dataset: str) -> Figure:
    with figure_style():
        figure = Figure((12, 4.3))
        set_margins(figure, 0.1, 0.1, 0.1, 0.4, wspace=0.05)
        grid = figure.subplots(1, 2 * len(variations), width_ratios=[1, 2] * len(variations))
        for left, right, pictures in zip(grid[::2], grid[1::2], variations, strict=True):
            tile(left, pictures[:1], columns=1)
            tile(right, pictures[1:], columns=4)
            left.set_title("as it is", fontsize=10)
        on = "Two characters, each with sixteen variations of training (here dark on light)"
        off = "Augmentation is off: training sees every image as it is"
        figure.suptitle(f"{on if variations.shape[1] > 1 else off}: {dataset}")
        return figure


def data(train: Dataset, classes: Sequence[str], dataset: str) -> Figure:
    labels = train.labels.argmax(1)
    present = np.unique(labels)
    chosen = present[spread(len(present), 12)]
    with figure_style(**{"axes.grid": False}):
        figure = Figure((12, 8))
        names = [shortened(classes[label]) for label in chosen]
        more = margin_of(classes, 7)
        set_margins(figure, 0.1, 0.1, 0.4 + more, 0.7, wspace=0.08 + margin_of(names, 12) / 6)
        left, axes = figure.subplots(1, 2, width_ratios=(1, 1.5))
        shape = train.images.shape[1:]
        pictures = np.zeros((len(chosen), EXAMPLES, *shape), np.uint8)
        for row, label in zip(pictures, chosen, strict=True):
            own = np.flatnonzero(labels == label)[:EXAMPLES]
            row[: len(own)] = train.images[own]
        tile(left, pictures.reshape(-1, *shape), EXAMPLES)
        left.set_title(f"images, {shape[0]} x {shape[1]}, 0 to 255")
        first = [np.flatnonzero(labels == label)[0] for label in chosen]
        axes.imshow(train.labels[first], cmap="Blues", aspect="auto", vmax=1.3)
        name_ticks(axes, "x", classes, 7.7, 7)
        axes.set_yticks(range(len(chosen)), names, fontsize=12)
        axes.hlines(np.arange(len(chosen) - 1) + 0.5, -0.5, len(classes) - 0.5, color="#dddddd")
        axes.set_title(f"one-hot labels, {len(classes)} numbers: 1 at the class, 0 elsewhere")
        figure.suptitle(f"Train data: {dataset}")
        return figure
