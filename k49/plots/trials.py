"""The trials of a search: their paths through the space, and which hyperparameters mattered."""

from collections import Counter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from k49.plots.figures import BLUE, GREY, ORANGE, figure_style, set_margins

SEARCHED = ("layers", "units", "activation", "initializer", "learning_rate", "weight_decay")
LOGARITHMIC = ("learning_rate", "weight_decay")
PERMUTATIONS = 9999
LEVEL = 0.05  # of false discoveries among the hyperparameters that are called important


def values(rows: list[dict], name: str) -> list[Any]:
    """Return a hyperparameter of each trial; for the widths of its layers, their mean."""
    if name == "units":
        return [float(np.mean(row["units"])) for row in rows]
    return [row[name] for row in rows]


def comparable(rows: list[dict]) -> list[dict]:
    """Return the trials that were to have the most common number of epochs."""
    ((most, _),) = Counter(row["max_epochs"] for row in rows).most_common(1)
    return [row for row in rows if row["max_epochs"] == most]


def importance(rows: list[dict]) -> list[dict]:
    """Return how far each hyperparameter goes with val_accuracy, and whether it could be chance.

    A failed trial ranks below all others. Of numbers Spearman's rank correlation, with its sign; of
    categories the correlation ratio of the ranks (the root of the share of their variance that lies
    between the categories; Kruskal and Wallis' H over n - 1). p-values by permutation, `matters` by
    Benjamini and Hochberg at 0.05: few trials can't show much, and nothing is said then.

    Returns:
        A row for each of SEARCHED: hyperparameter, rank_correlation (-1 to 1), p_value, matters,
        and trials, how many were compared.
    """
    rows = comparable(rows)
    scores = [-1.0 if row["val_accuracy"] is None else row["val_accuracy"] for row in rows]
    ranks = stats.rankdata(scores)
    correlations = [correlation(values(rows, name), ranks) for name in SEARCHED]
    matter = stats.false_discovery_control([p for _, p in correlations]) < LEVEL
    return [
        {
            "hyperparameter": name,
            "rank_correlation": round(strength, 4),
            "p_value": round(p, 4),
            "matters": bool(matters),
            "trials": len(rows),
        }
        for name, (strength, p), matters in zip(SEARCHED, correlations, matter, strict=True)
    ]


def correlation(column: list[Any], ranks: np.ndarray) -> tuple[float, float]:
    """Return the correlation of values with ranks, and its p-value; 0 and 1 if nothing varies."""
    kinds, category = np.unique([str(value) for value in column], return_inverse=True)
    if len(kinds) < 2 or np.ptp(ranks) == 0:
        return 0.0, 1.0
    numeric = all(isinstance(value, int | float) for value in column)
    x = stats.rankdata(column) if numeric else category

    def strength(x: np.ndarray) -> float:
        if numeric:
            return float(np.corrcoef(x, ranks)[0, 1])
        centred = ranks - ranks.mean()
        sums, sizes = np.bincount(x, centred), np.bincount(x)
        return float(np.sqrt((sums**2 / sizes).sum() / (centred**2).sum()))

    test = stats.permutation_test(
        (x,),
        lambda x: abs(strength(x)),
        permutation_type="pairings",
        n_resamples=PERMUTATIONS,
        alternative="greater",
        rng=np.random.default_rng(0),
    )
    return strength(x), float(test.pvalue)


def trials(rows: list[dict], dataset: str) -> Figure:
    with figure_style():
        if not (scored := [row for row in rows if row["val_accuracy"] is not None]):
            figure = Figure((13, 1))
            figure.suptitle(f"No search, since tune.trials is 1: {dataset}")
            return figure
        figure = Figure((13, 4.6))
        set_margins(figure, 0.4, 0.3, 0.75, 0.8, wspace=0.28)
        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        draw_parallel(left, scored)
        draw_importance(right, importance(rows))
        figure.suptitle(f"The search's {len(rows)} trials: {dataset}")
        return figure


def draw_parallel(axes: Axes, rows: list[dict]) -> None:
    """Draw each completed trial as a line through the hyperparameters that varied."""
    columns = {name: values(rows, name) for name in (*SEARCHED, "val_accuracy")}
    names = [name for name in columns if name == "val_accuracy" or len(set(columns[name])) > 1]
    at = np.array([positions(name, columns[name]) for name in names])  # (axes, trials)
    best = int(np.argmax(columns["val_accuracy"]))
    for trial in sorted(range(len(rows)), key=lambda trial: trial == best):
        colour = ORANGE if trial == best else BLUE
        strength = 1.0 if trial == best else 0.15 + 0.6 * at[-1, trial]
        axes.plot(at[:, trial], color=colour, alpha=strength, lw=2)
    for x, name in enumerate(names):
        axes.axvline(x, color=GREY, lw=0.8)
        labels = dict(zip(at[x], columns[name], strict=True))
        if not isinstance(columns[name][0], str):
            labels = {place: labels[place] for place in (min(labels), max(labels))}
        for place, value in labels.items():
            text = value if isinstance(value, str) else f"{value:.4g}"
            text = f"{value:.2%}" if name == "val_accuracy" else text
            above = 9 if place > 0.5 else -9  # clear of the lines
            axes.annotate(
                *(text, (x, place)),
                xytext=(0, above),
                textcoords="offset points",
                fontsize=9,
                ha="center",
                va="center",
                bbox={"facecolor": "w", "edgecolor": "none", "pad": 1},
            )
    axes.set_xticks(range(len(names)), [name.replace("units", "mean units") for name in names])
    axes.set_yticks([])
    axes.set(xlim=(-0.3, len(names) - 0.7), ylim=(-0.12, 1.12))
    axes.spines.left.set_visible(False)
    axes.grid(visible=False)
    number = rows[best]["trial"]
    axes.set_title(f"hyperparameters that varied (orange: the best, trial {number})", fontsize=11)


def positions(axis: str, column: list[Any]) -> np.ndarray:
    """Place values between 0, the lowest, and 1, the highest; categories lie evenly."""
    if isinstance(column[0], str):
        x = np.unique(column, return_inverse=True)[1].astype(float)
    else:
        x = np.log(column) if axis in LOGARITHMIC else np.array(column, float)
    return (x - x.min()) / np.ptp(x) if np.ptp(x) else np.full(len(x), 0.5)


def draw_importance(axes: Axes, rows: list[dict]) -> None:
    rows = rows[::-1]
    axes.barh(
        [row["hyperparameter"].replace("units", "mean units") for row in rows],
        [row["rank_correlation"] for row in rows],
        color=[BLUE if row["matters"] else "#cccccc" for row in rows],
    )
    for y, row in enumerate(rows):
        if not row["rank_correlation"] and row["p_value"] == 1:
            axes.annotate("didn't vary", (0.03, y), va="center", fontsize=9, color=GREY)
    axes.axvline(0, color=GREY, lw=0.8)
    axes.set(xlim=(-1, 1), xticks=(-1, -0.5, 0, 0.5, 1))
    axes.set_xlabel("rank correlation with val_accuracy\n(of categories: without a sign)")
    axes.grid(axis="y", visible=False)
    n = rows[0]["trials"]
    axes.set_title(f"{n} trials; grey: could be chance", fontsize=11)
