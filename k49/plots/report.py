"""The pictures of a report: each function takes data and returns a matplotlib Figure."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from k49.comparison.compare import Comparison
from k49.comparison.ranking import Ranking
from k49.comparison.ranking_text import MOST_ROWS, group_name
from k49.comparison.runs import Change
from k49.comparison.text import count_text, setting_text, side_names, signed_count
from k49.plots.figures import BLUE, GREY, ORANGE, figure_style, label_epochs, set_margins
from k49.text import shortened

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


def ranking(ranked: Ranking) -> Figure:
    """Draw the groups of a ranking below each other, the best on top.

    A point is a mean of validation accuracy; its bar is the interval of its difference to the best,
    drawn around it: a bar that reaches the line through the best can't be told apart from it.
    """
    shown = ranked.shown(MOST_ROWS)
    best = 100 * (ranked.best.means["val_accuracy"] or 0)
    labels = []
    with figure_style(**{"axes.grid": False}):
        figure = Figure((10, 1.3 + 0.28 * len(shown)))
        set_margins(figure, 4.6, 0.2, 0.55, 0.6)
        axes = figure.subplots()
        for y, group in enumerate(shown):
            mean = 100 * (group.means["val_accuracy"] or 0)
            reach = 100 * (group.to_best.high - group.to_best.difference) if group.to_best else 0
            colour = BLUE if group.among_the_best else GREY
            axes.errorbar(mean, y, xerr=reach, fmt="o", color=colour, markersize=5, capsize=2)
            if group.to_base is None:
                axes.plot(mean, y, "o", color=ORANGE, markersize=7, zorder=3)
            values = [
                f"{key.rpartition('.')[2]} {setting_text(v)}" for key, v in group.params.items()
            ]
            labels.append(shortened(f"{group_name(group)}   {', '.join(values)}", 66))
        axes.axvline(best, color=BLUE, linewidth=0.8)
        axes.set_yticks(range(len(shown)), labels, fontsize=8)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel("validation accuracy, percent")
        hidden = len(ranked.groups) - len(shown)
        axes.set_title(
            f"{ranked.dataset}{f', {hidden} more settings below' if hidden else ''}\n"
            "blue: can't be told apart from the best (its bar reaches the line); orange: the base",
            fontsize=9,
            loc="right",
        )
        return figure
