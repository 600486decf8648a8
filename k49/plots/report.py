"""The pictures of a report: each function takes data and returns a matplotlib Figure."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from k49.comparison.compare import Comparison
from k49.comparison.runs import Change
from k49.comparison.text import count_text, side_names, signed_count
from k49.plots.figures import BLUE, GREY, ORANGE, figure_style, label_epochs

MOST = 12  # bars of a panel
LIGHT = 0.35  # opacity of A's lines
Curves = list[list[dict]]  # of each run of a side: a row for each epoch and split


def curves(comparison: Comparison, a: Curves, b: Curves) -> Figure:
    """Draw loss and accuracy of both sides against epochs: a line for each run, A's pale."""
    sides = {LIGHT: a, 1.0: b}
    colours = {"train": BLUE, "validation": ORANGE}
    with figure_style():
        figure = Figure((10, 4.2), layout="constrained")
        for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for alpha, runs in sides.items():
                for rows in runs:
                    for split, colour in colours.items():
                        points = [row for row in rows if row["split"] == split]
                        axes.plot(
                            [row["epoch"] for row in points],
                            [row[name] for row in points],
                            color=colour,
                            alpha=alpha,
                            linewidth=1.5 if len(runs) == 1 else 0.8,
                        )
            label_epochs(axes, name)
        handles = [
            Line2D([], [], color=colour, alpha=alpha, label=f"{split}, {side}")
            for alpha, side in zip(sides, side_names(comparison), strict=True)
            for split, colour in colours.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(f"Training curves: {comparison.dataset}")
        return figure


def changes(comparison: Comparison) -> Figure:
    a, b = side_names(comparison)
    classes, confusions = comparison.classes[:MOST], comparison.confusions[:MOST]
    with figure_style():
        size = 10, 1.6 + 0.3 * max(len(classes), len(confusions), 1)
        figure = Figure(size, layout="constrained")
        left, right = figure.subplots(1, 2)
        bars(left, classes, [change.true for change in classes], good=1)
        left.set_title("read correctly", fontsize=10)
        bars(right, confusions, [f"{e.true} → {e.predicted}" for e in confusions], good=-1)
        right.set_title("true → read as", fontsize=10)
        figure.suptitle(
            f"Test images, more (+) or fewer (-) in {b} than in {a}\n{comparison.dataset}",
            fontsize=11,
        )
        return figure


def bars(axes: Axes, changes: list[Change], labels: list[str], good: int) -> None:
    """Draw a bar for each change, with its figures: blue where it is an improvement.

    Args:
        axes: to draw into.
        changes: the changes.
        labels: what to call each.
        good: 1 if more is better, -1 if less is.
    """
    differences = [change.b - change.a for change in changes]
    colours = [BLUE if good * difference > 0 else ORANGE for difference in differences]
    axes.barh(range(len(changes)), differences, color=colours)
    for y, (change, difference) in enumerate(zip(changes, differences, strict=True)):
        axes.annotate(
            f"{signed_count(difference)}  "
            f"({count_text(change.a)} to {count_text(change.b)} of {change.images})",
            (difference, y),
            xytext=(4 if difference > 0 else -4, 0),
            textcoords="offset points",
            va="center",
            ha="left" if difference > 0 else "right",
            fontsize=8,
            color="#444444",
        )
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(changes)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("test images")
    axes.margins(x=0.7)  # room for the figures
    axes.grid(axis="y", visible=False)
