"""A comparison in words and tables: for the terminal, as Markdown, as JSON."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.table import Table

from k49.comparison.compare import Comparison, Verdict
from k49.comparison.differences import OF_PROBABILITIES, Difference
from k49.comparison.runs import Change
from k49.evaluation.metrics import METRIC_NAMES
from k49.text import in_cell, in_markdown, in_terminal, printable

MOST = 8  # classes, or confusions


@dataclass(frozen=True)
class TableData:
    title: str
    header: list[str]
    rows: list[list[str]]


def sentence(comparison: Comparison, names: Callable[[str], str] = printable) -> str:
    """Return the verdict and its figures in one line.

    Args:
        comparison: to put into words.
        names: makes the names of the sides fit for where the line is shown.
    """
    a, b = map(names, side_names(comparison))
    accuracy, images = comparison.primary, f"{comparison.images:,} test images"
    if comparison.verdict is Verdict.SAME:
        return f"the same, image for image: {b} reads all {images} as {a} does"
    low, high = signed_percent(accuracy.low), signed_percent(accuracy.high)
    interval = f"95 % interval {low} to {high}, p {p_value_text(comparison.p_value)}"
    if comparison.verdict is Verdict.NONE:
        trainings = len(comparison.a) + len(comparison.b)
        shown = f"{trainings} trainings and {images}" if trainings > 2 else images
        needed = percent((accuracy.high - accuracy.low) / 2)
        return (
            f"no difference that {shown} can show (it would have to be {needed} points): "
            f"{signed_percent(accuracy.difference)}, {interval}"
        )
    more = "more" if accuracy.difference > 0 else "fewer"
    return (
        f"{comparison.verdict}: {b} reads {percent(abs(accuracy.difference))} points {more} of "
        f"{images} correctly than {a}; {interval}"
    )


def side_names(comparison: Comparison) -> tuple[str, str]:
    a, b = (side_name(names) for names in (comparison.a, comparison.b))
    return a, b


def side_name(names: list[str]) -> str:
    """Return one name for several runs, as `seeds-* (5 runs)`."""
    if len(names) == 1:
        return names[0]
    common = os.path.commonprefix([name.split(" ")[0] for name in names])  # noqa: RUF071, no paths
    return f"{common}* ({len(names)} runs)" if common else f"{names[0]} and {len(names) - 1} more"


def tables(comparison: Comparison) -> list[TableData]:
    names = list(side_names(comparison))
    changed = "difference, points (95 % interval)"
    metrics, probabilities = (
        [
            metric_row(difference)
            for difference in comparison.differences
            if (difference.metric in OF_PROBABILITIES) == wanted
        ]
        for wanted in (False, True)
    )
    params = [[key, setting_text(a), setting_text(b)] for key, (a, b) in comparison.params.items()]
    classes = [class_row(change) for change in comparison.classes[:MOST]]
    right = f"Read correctly: the classes that changed most, of {len(comparison.classes)} that did"
    whole = [
        TableData(
            f"Test, {comparison.dataset} (* significant, also among so many metrics)",
            ["percent", *names, changed],
            metrics,
        ),
        TableData(
            "Probabilities on test: how far they can be believed (lower is better)",
            ["", *names, "difference (95 % interval)"],
            probabilities,
        ),
        TableData("Parameters that differ", ["parameter", *names], params),
        TableData(right, ["class", "test images", *names, "difference"], classes),
    ]
    return [table for table in whole if table.rows]


def metric_row(metric: Difference) -> list[str]:
    share = metric.metric not in OF_PROBABILITIES
    signed, plain = (signed_percent, percent) if share else ("{:+.4f}".format, "{:.4f}".format)
    interval = f"({signed(metric.low)} to {signed(metric.high)})"
    return [
        METRIC_NAMES.get(metric.metric, metric.metric),
        mean_and_std(metric.a, metric.a_std, plain),
        mean_and_std(metric.b, metric.b_std, plain),
        f"{signed(metric.difference)} {interval}{' *' if metric.starred else ''}",
    ]


def class_row(change: Change) -> list[str]:
    a, b = count_text(change.a), count_text(change.b)
    return [change.true, str(change.images), a, b, signed_count(change.b - change.a)]


def markdown(comparison: Comparison) -> str:
    notes = [f"Note: {in_markdown(note)}." for note in comparison.notes]
    parts = [f"**{sentence(comparison, in_markdown)}**", *notes]
    for cells in tables(comparison):
        parts += [f"{in_markdown(cells.title)}:", markdown_table(cells)]
    return "\n\n".join(parts) + "\n"


def report(comparison: Comparison, faults: list[str], pictures: dict[str, str]) -> str:
    """Format the comparison as a page of Markdown.

    Args:
        comparison: to report.
        faults: limits of the gate that it breaks.
        pictures: file names and captions.
    """
    a, b = side_names(comparison)
    confusions = TableData(
        f"Confusions that changed most, of {len(comparison.confusions)} that did",
        ["true", "read as", "images of the true class", a, b, "difference"],
        [
            [change.true, change.predicted, *class_row(change)[1:]]
            for change in comparison.confusions[:MOST]
        ],
    )
    parts = [f"# {in_markdown(b)} compared with {in_markdown(a)}", markdown(comparison).strip()]
    if confusions.rows:
        parts += [f"{confusions.title}:", markdown_table(confusions)]
    parts += ["Gate: " + ("; ".join(map(in_markdown, faults)) or "passed") + "."]
    parts += [f"![{shows}]({name})" for name, shows in pictures.items()]
    return "\n\n".join(parts) + "\n"


def markdown_table(cells: TableData) -> str:
    """Format a table as Markdown; no content can leave its cell."""
    rows = [cells.header, *cells.rows]
    lines = ["| " + " | ".join(map(in_cell, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(cells.header), *lines[1:]])


def terminal(comparison: Comparison) -> Group:
    parts: list[Any] = []
    for cells in tables(comparison):
        table = Table(title=in_terminal(cells.title), title_justify="left", box=None)
        for title in cells.header:
            table.add_column(in_terminal(title), overflow="fold")
        for row in cells.rows:
            table.add_row(*map(in_terminal, row))
        parts += [table, ""]
    parts += [in_terminal(f"note: {note}") for note in comparison.notes]
    return Group(*parts, f"[bold]{in_terminal(sentence(comparison))}[/bold]")


def as_json(comparison: Comparison) -> str:
    """Format the comparison as JSON: the fields of `Comparison`, and `sentence`."""
    content = {"sentence": sentence(comparison), **asdict(comparison)}
    return json.dumps(content, ensure_ascii=False, indent=1)


# --- numbers -------------------------------------------------------------------------------------


def signed_percent(share: float) -> str:
    return f"{100 * share:+.2f}"


def percent(share: float) -> str:
    return f"{100 * share:.2f}"


def mean_and_std(mean: float, std: float | None, form: Callable[[float], str]) -> str:
    """Format a mean with its standard deviation over the seeds."""
    return form(mean) if std is None else f"{form(mean)} ± {form(std)}"


def count_text(count: float) -> str:
    return f"{count:.0f}" if count == round(count) else f"{count:.1f}"


def signed_count(count: float) -> str:
    return ("+" if count > 0 else "-") + count_text(abs(count))


def setting_text(setting: Any) -> str:
    """Format a parameter's value as YAML has it, in one line; None as a dash."""
    return "-" if setting is None else json.dumps(setting, ensure_ascii=False).strip('"')


def p_value_text(p: float) -> str:
    return f"= {p:.4f}" if p >= 0.0001 else "< 0.0001"
