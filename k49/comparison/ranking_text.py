"""A ranking in words and tables: for the terminal, as Markdown, JSON and CSV."""

import json
from collections.abc import Callable
from dataclasses import asdict, astuple
from itertools import accumulate
from typing import Any

from rich.console import Group as Lines
from rich.table import Table

from k49.comparison.ranking import FEW, METRICS, Group, Ranking
from k49.comparison.text import (
    TableData,
    markdown_table,
    mean_and_std,
    percent,
    setting_text,
    signed_percent,
)
from k49.text import csv_text, in_markdown, in_terminal, printable, shortened

MOST_ROWS = 30  # in a table or a picture; CSV and JSON have all
MOST_NAME, MOST_CELL = 32, 20  # characters
LEAST_EXPLAINED = 0.1  # below it, shares of the parameters are chance


def sentences(ranking: Ranking, names: Callable[[str], str] = printable) -> list[str]:
    """Return which setting is best on validation, what can't be told apart from it, and its test.

    Args:
        ranking: to put into words.
        names: makes the names of runs fit for where the lines are shown.
    """
    best, settings = ranking.best, len(ranking.groups)
    accuracy = f"{percent(best.means['val_accuracy'] or 0)} %"
    equal = sum(group.among_the_best for group in ranking.groups) - 1
    name = names(group_name(best))
    if settings == 1:
        lines = [
            f"a single setting, {name}: {accuracy} of {ranking.images:,} validation images; "
            "`dvc exp run --queue` makes others (docs/sweeps.md)"
        ]
    else:
        whose = "" if best.to_base else "the base, "
        lines = [
            f"best on {ranking.images:,} validation images: {whose}{name}, {accuracy}; {equal} of "
            f"the {settings - 1} other settings can't be told apart from it (*)"
        ]
    if best.to_base is not None:
        words = "better than" if best.to_base.significant else "no difference that shows from"
        points = interval_text(best).removesuffix(" better")
        lines.append(f"{words} the base, {names(group_name(ranking.base))}: {points} points")
    low, high = map(percent, ranking.test_interval())
    lines.append(
        f"on {ranking.tests:,} test images, which have not chosen it, it reads "
        f"{percent(best.means['test_accuracy'] or 0)} % correctly (95 % interval {low} to {high})"
    )
    return lines


def group_name(group: Group) -> str:
    """Return the name of a group's first run, without its commit, and how many more there are."""
    first, more = group.names[0].split(" ")[0], len(group.names) - 1
    return f"{first} and {more} more" if more else first


def interval_text(group: Group) -> str:
    if group.to_base is None:
        return "base"
    low, high = signed_percent(group.to_base.low), signed_percent(group.to_base.high)
    star = "" if not group.to_base.significant else " better" if group.to_base.low > 0 else " worse"
    return f"{signed_percent(group.to_base.difference)} ({low} to {high}){star}"


def remarks(ranking: Ranking) -> list[str]:
    """Return what has to be known besides the table: parameters, notes, and what was left out."""
    lines = list(ranking.notes)
    if known := ranking.importance:
        settings = f"{known.settings} settings"
        shares = ", ".join(f"{key} {share:.0%}" for key, share in known.shares.items())
        line = f"share of the variance of validation accuracy that a parameter explains: {shares}"
        if known.grid:
            lines.append(
                f"{line}; the rest, {1 - known.explained:.0%}, is chance and how they act together "
                f"(analysis of variance of a grid of {settings})"
            )
        elif known.explained < LEAST_EXPLAINED:
            lines.append(f"which parameters matter can't be said from {settings}")
        else:
            rough = ", which are few: rough figures" if known.settings < FEW else ""
            lines.append(
                f"{line} (a random forest on {settings}{rough}; it explains {known.explained:.0%} "
                "of settings that it hasn't seen)"
            )
    reasons = dict.fromkeys(ranking.left_out.values())
    for reason in list(reasons)[:MOST_ROWS]:
        names = [name for name, why in ranking.left_out.items() if why == reason]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        lines.append(f"left out, {reason}: {', '.join(names[:5])}{more}")
    return lines


def table(ranking: Ranking) -> TableData:
    """Return the best groups, and the base, as a table: the columns that matter most first."""
    shown = ranking.shown(MOST_ROWS)
    params = list(shown[0].params)
    known = [name for name in METRICS[3:] if any(group.means[name] is not None for group in shown)]
    header = [
        *("setting", "runs", "validation", "points to base (95 %)", "test"),
        *(key.removeprefix("hyperparameters.") for key in params),
        *("balanced", *(COLUMNS[name] for name in known)),
    ]
    rows = [
        [
            f"{shortened(group_name(group), MOST_NAME)}{' *' if group.among_the_best else ''}",
            str(len(group.names)),
            cell(group, "val_accuracy"),
            interval_text(group),
            cell(group, "test_accuracy"),
            *(shortened(setting_text(group.params[key]), MOST_CELL) for key in params),
            *(cell(group, name) for name in ("test_balanced_accuracy", *known)),
        ]
        for group in shown
    ]
    hidden = len(ranking.groups) - len(shown)
    more = f"; the best {len(shown)} of {len(ranking.groups)} settings" if hidden else ""
    title = f"{ranking.dataset}, percent, by validation accuracy{more} (* may be the best)"
    return TableData(title, header, rows)


COLUMNS = {"overfitting_gap": "gap", "test_ece": "ECE", "epochs": "epochs", "weights": "weights"}


def cell(group: Group, name: str) -> str:
    mean, spread = group.means[name], group.stds[name]
    if mean is None:
        return "-"
    if name in ("epochs", "weights"):
        return f"{mean:,.0f}"
    if name == "test_ece":
        return f"{mean:.4f}"
    return mean_and_std(mean, spread, percent)


def terminal(ranking: Ranking, width: int) -> Lines:
    """Return what a terminal of so many columns shows: as many of the table's columns as fit."""
    data = table(ranking)
    widths = [max(map(len, column)) + 2 for column in zip(data.header, *data.rows, strict=True)]
    fit = max(3, sum(total <= width for total in accumulate(widths)))
    shown = Table(title=in_terminal(data.title), title_justify="left", box=None)
    for name in data.header[:fit]:
        shown.add_column(in_terminal(name), overflow="fold")
    for row in data.rows:
        shown.add_row(*map(in_terminal, row[:fit]))
    lines = [f"note: {line}" for line in remarks(ranking)]
    if hidden := data.header[fit:]:
        lines.insert(0, f"no room for {', '.join(hidden)}: a wider terminal has, or --format csv")
    return Lines(
        shown,
        "",
        *map(in_terminal, lines),
        *(f"[bold]{in_terminal(line)}[/bold]" for line in sentences(ranking)),
    )


def markdown(ranking: Ranking) -> str:
    data = table(ranking)
    parts = [
        *(f"**{line}**" for line in sentences(ranking, in_markdown)),
        f"{in_markdown(data.title)}:",
        markdown_table(data),
        *(f"Note: {in_markdown(line)}." for line in remarks(ranking)),
    ]
    return "\n\n".join(parts) + "\n"


def as_json(ranking: Ranking) -> str:
    """Format the ranking as JSON: the fields of `Ranking`, `sentences`, and each group's mark."""
    content: dict[str, Any] = {"sentences": sentences(ranking), **asdict(ranking)}
    content["test_interval"] = ranking.test_interval()
    for group, fields in zip(ranking.groups, content["groups"], strict=True):
        fields["among_the_best"] = group.among_the_best
    return json.dumps(content, ensure_ascii=False, indent=1)


def as_csv(ranking: Ranking) -> str:
    """Format all groups as CSV: shares of 1, names of runs with spaces between them."""
    params = list(ranking.best.params)
    figures = [column for name in METRICS for column in (name, f"{name}_std")]
    bounds = ("difference", "difference_low", "difference_high")
    rows = [
        {
            "runs": len(group.names),
            "names": " ".join(printable(name.split(" ")[0]) for name in group.names),
            "among_the_best": group.among_the_best,
            **group.means,
            **{f"{name}_std": spread for name, spread in group.stds.items()},
            **(dict(zip(bounds, astuple(group.to_base), strict=True)) if group.to_base else {}),
            **{key: printable(setting_text(value)) for key, value in group.params.items()},
        }
        for group in ranking.groups
    ]
    return csv_text(rows, ["runs", "names", "among_the_best", *figures, *bounds, *params])
