"""A comparison in words and tables: for the terminal, as Markdown, as JSON."""

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from k49.comparison.changes import Change
from k49.comparison.compare import Comparison, Verdict
from k49.comparison.differences import Difference

TITLES = {
    "test_accuracy": "accuracy",
    "test_balanced_accuracy": "balanced accuracy",
    "test_macro_f1": "macro F1",
    "val_minus_test": "validation minus test",
    "overfitting_gap": "overfitting gap",
}
MOST = 8  # classes, or confusions


@dataclass(frozen=True)
class Cells:
    """A table before it is drawn."""

    title: str
    header: list[str]
    rows: list[list[str]]


def sentence(comparison: Comparison) -> str:
    """The verdict and what it rests on, in one line."""
    a, b = sides(comparison)
    found, images = comparison.decides, f"{comparison.images:,} test images"
    if comparison.verdict is Verdict.SAME:
        return f"the same, image for image: {b} reads all {images} as {a} does"
    low, high = points(found.low), points(found.high)
    interval = f"95 % interval {low} to {high}, p {probability(comparison.p_value)}"
    if comparison.verdict is Verdict.NONE:
        trainings = len(comparison.a) + len(comparison.b)
        shown = f"{trainings} trainings and {images}" if trainings > 2 else images
        needed = unsigned((found.high - found.low) / 2)
        return (
            f"no difference that {shown} can show (it would have to be {needed} points): "
            f"{points(found.difference)}, {interval}"
        )
    more = "more" if found.difference > 0 else "fewer"
    return (
        f"{comparison.verdict}: {b} reads {unsigned(abs(found.difference))} points {more} of "
        f"{images} rightly than {a}; {interval}"
    )


def sides(comparison: Comparison) -> tuple[str, str]:
    """What the sides are called: their run, or what the names of so many have in common."""
    a, b = (group(names) for names in (comparison.a, comparison.b))
    return a, b


def group(names: list[str]) -> str:
    """One name for several, as `seeds-* (5 runs)`."""
    if len(names) == 1:
        return names[0]
    common = os.path.commonprefix([name.split(" ")[0] for name in names])  # noqa: RUF071, no paths
    return f"{common}* ({len(names)} runs)" if common else f"{names[0]} and {len(names) - 1} more"


def tables(comparison: Comparison) -> list[Cells]:
    """Metrics, parameters and classes; empty ones left out."""
    names = list(sides(comparison))
    changed = "difference, points (95 % interval)"
    metrics = [metric_row(each) for each in comparison.differences]
    params = [[key, value(a), value(b)] for key, (a, b) in comparison.params.items()]
    classes = [class_row(each) for each in comparison.classes[:MOST]]
    right = f"Read rightly: the classes that changed most, of {len(comparison.classes)} that did"
    found = [
        Cells(
            f"Test, {comparison.dataset} (* where the interval leaves out 0)",
            ["percent", *names, changed],
            metrics,
        ),
        Cells("Parameters that differ", ["parameter", *names], params),
        Cells(right, ["class", "test images", *names, "difference"], classes),
    ]
    return [each for each in found if each.rows]


def metric_row(found: Difference) -> list[str]:
    """A metric's cells; those whose interval leaves out 0 end in a star."""
    interval = f"({points(found.low)} to {points(found.high)})"
    return [
        TITLES[found.metric],
        spread(found.a, found.a_std),
        spread(found.b, found.b_std),
        f"{points(found.difference)} {interval}{' *' if found.shows else ''}",
    ]


def class_row(change: Change) -> list[str]:
    """A class's cells."""
    a, b = number(change.a), number(change.b)
    return [change.true, str(change.images), a, b, signed(change.b - change.a)]


def markdown(comparison: Comparison) -> str:
    """The whole comparison as Markdown."""
    parts = [f"**{sentence(comparison)}**", *(f"Note: {note}." for note in comparison.notes)]
    for cells in tables(comparison):
        parts += [f"{cells.title}:", markdown_table(cells)]
    return "\n\n".join(parts) + "\n"


def report(comparison: Comparison, faults: list[str], pictures: dict[str, str]) -> str:
    """The comparison as a page of Markdown.

    Args:
        comparison: to report.
        faults: what the gate has against it.
        pictures: a file's name, and what it shows.
    """
    a, b = sides(comparison)
    found = Cells(
        f"Confusions that changed most, of {len(comparison.confusions)} that did",
        ["true", "read as", "images of the true class", a, b, "difference"],
        [
            [each.true, each.predicted, *class_row(each)[1:]]
            for each in comparison.confusions[:MOST]
        ],
    )
    parts = [f"# {b} beside {a}", markdown(comparison).strip()]
    if found.rows:
        parts += [f"{found.title}:", markdown_table(found)]
    parts += ["Gate: " + ("; ".join(faults) or "passed") + "."]
    parts += [f"![{shows}]({name})" for name, shows in pictures.items()]
    return "\n\n".join(parts) + "\n"


def markdown_table(cells: Cells) -> str:
    """One table; a bar in a cell is escaped."""
    rows = [cells.header, ["---"] * len(cells.header), *cells.rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
    )


def terminal(comparison: Comparison) -> Group:
    """The whole comparison for rich to print."""
    parts: list[Any] = []
    for cells in tables(comparison):
        table = Table(title=escape(cells.title), title_justify="left", box=None)
        for title in cells.header:
            table.add_column(escape(title), overflow="fold")
        for row in cells.rows:
            table.add_row(*map(escape, row))
        parts += [table, ""]
    parts += [escape(f"note: {note}") for note in comparison.notes]
    return Group(*parts, f"[bold]{escape(sentence(comparison))}[/bold]")


def as_json(comparison: Comparison) -> str:
    """The whole comparison as JSON: the fields of `Comparison`, and `sentence`."""
    content = {"sentence": sentence(comparison), **asdict(comparison)}
    return json.dumps(content, ensure_ascii=False, indent=1)


# --- numbers -------------------------------------------------------------------------------------


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.2f}"


def unsigned(share: float) -> str:
    """A share in percentage points."""
    return f"{100 * share:.2f}"


def spread(mean: float, std: float | None) -> str:
    """A share in percent, with its standard deviation over the seeds."""
    return unsigned(mean) if std is None else f"{unsigned(mean)} ± {unsigned(std)}"


def number(count: float) -> str:
    """Images, a mean over runs with one decimal."""
    return f"{count:.0f}" if count == round(count) else f"{count:.1f}"


def signed(count: float) -> str:
    """A difference of images."""
    return ("+" if count > 0 else "-") + number(abs(count))


def value(setting: Any) -> str:
    """A parameter's value as YAML has it, in one line; a dash for none."""
    return "-" if setting is None else json.dumps(setting, ensure_ascii=False).strip('"')


def probability(p: float) -> str:
    """A p-value."""
    return f"= {p:.4f}" if p >= 0.0001 else "< 0.0001"
