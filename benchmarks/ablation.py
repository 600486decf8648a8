"""From the report's recipe to this project's, one ingredient after the other; and what didn't help.

    python -m benchmarks.ablation [SOURCE] [--seeds 3] [--first 1] [--only NAME ...] [--output FILE]

SOURCE is what `data.source` takes: a folder with real images of K49, or by default the stand-in.
Each run is an experiment of DVC, of the commit that is checked out: those that are missing are
queued and run in the background, one after the other, while this command says how far they are;
then it writes a table of their metrics, and a picture next to it. Stopped, it goes on where it was,
and so does the queue. `dvc exp show` shows the experiments, `dvc queue logs NAME` what one of them
said.
"""

import argparse
import csv
import io
import re
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from matplotlib.figure import Figure
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from k49.io import write_text
from k49.plots.figures import BLUE, GREY, ORANGE, figure_style, save

Row = tuple[str, str, list[str]]  # name, recipe, what is changed in it


def rates(space: str, lowest: float, highest: float) -> list[str]:
    """Changes that give a space other learning rates."""
    key = f"spaces.{space}.learning_rate"
    return [f"{key}.min={lowest}", f"{key}.max={highest}"]


WEAK = ["augment.rotation=0.14", "augment.shear=0.14", "augment.elastic=1.3"]
# Each has what those above it have, and the last is the default recipe.
STEPS = {
    "report": [],
    "distorted images": ["augment.enabled=true", "augment.elastic_grid=7", *WEAK],
    "batch normalization, no dropout": ["fit.batch_normalization=true", "fit.dropout=0.0"],
    "60 epochs, cosine to 0": [
        "train.epochs=60",
        "fit.schedule=cosine",
        "fit.warmup_ratio=0.05",
        "fit.patience=null",
    ],
    "wide layers": [
        *("tune.space=default", "tune.trials=6", "tune.epochs=5"),
        *rates("default", 0.0015, 0.004),
    ],
    "weight decay": ["fit.weight_decay=0.2"],
    "label smoothing": ["fit.label_smoothing=0.1"],
    "longer": ["train.epochs=40", "train.min_steps=30000"],  # of both
    "stronger distortions, larger batches": [
        *("augment.rotation=0.2", "augment.shear=0.2", "augment.elastic=1.8"),
        *("fit.batch_size=512", "fit.weight_decay=0.25", *rates("default", 0.004, 0.009)),
        *("tune.trials=4", "tune.epochs=2", "train.epochs=32", "train.min_steps=7500"),
    ],
    "default": ["spaces.default.network=hog", "train.epochs=24", "train.min_steps=6000"],
}


# Of each recipe the changes that don't stay.
DEAD_ENDS = {
    "default": {
        "dropout": ["fit.dropout=0.1"],
        "weaker distortions": WEAK,
        "more weight decay": ["fit.weight_decay=0.8"],
        "less smoothing": ["fit.label_smoothing=0.05"],
        # with learning rates of its own; a decay is multiplied by the rate
        "sgd": ["fit.optimizer=sgd", *rates("default", 0.05, 0.2), "fit.weight_decay=0.005"],
        "random erasing": ["augment.erasing=0.25"],
    },
    "cnn": {
        "searched": ["tune.trials=3"],
        "half as long": ["train.epochs=5", "train.min_steps=2000"],
        "wider, half as long": [
            "spaces.cnn.units.min=24",
            "spaces.cnn.units.max=24",
            "train.epochs=5",
            "train.min_steps=2000",
        ],
        "three blocks": ["spaces.cnn.layers.min=3", "spaces.cnn.layers.max=3"],
    },
}
TRIED = {name: (recipe, new) for recipe, each in DEAD_ENDS.items() for name, new in each.items()}
ROWS: list[Row] = [
    *zip(STEPS, ["report"] * len(STEPS), accumulate(STEPS.values()), strict=True),
    ("cnn", "cnn", []),
    ("resnet", "resnet", []),
    *((name, *row) for name, row in TRIED.items()),
]
COLUMNS = {
    "validation": "val_accuracy",
    "test": "test_accuracy",
    "test, TTA": "test_tta_accuracy",
    "overfitting gap": "overfitting_gap",
}


def main() -> None:
    names = [name for name, *_ in ROWS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", default="standin")
    parser.add_argument("--seeds", type=int, default=3, help="how many, of the training")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="names of rows")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/ablation.md"))
    options = parser.parse_args()
    rows = [row for row in ROWS if row[0] in options.only]
    seeds = range(options.first, options.first + options.seeds)

    wanted = {
        experiment(options.source, row[0], seed): (row, seed) for seed in seeds for row in rows
    }
    try:
        figures = waited(wanted, options.source)
    except KeyboardInterrupt:
        sys.exit("stopped waiting; `dvc queue kill` stops the runs. The same command goes on")
    runs = {
        name: [figures[experiment(options.source, name, seed)] for seed in seeds]
        for name, *_ in rows
    }
    picture = options.output.with_suffix(".png")
    text = table(rows, runs, options.source, picture.name)
    write_text(options.output, text)
    save(chart(runs), picture)
    print(text)


def experiment(source: str, name: str, seed: int) -> str:
    """What an experiment of this commit is called; the seed is of the training."""
    return re.sub("[^a-z0-9]+", "-", f"{Path(source).name} {name} {seed} {commit()}".lower())


@cache
def commit() -> str:
    """The one that is checked out, which DVC hangs experiments on."""
    return shell("git", "rev-parse", "--short", "HEAD").strip()


def waited(wanted: dict[str, tuple[Row, int]], source: str) -> dict[str, dict]:
    """Run all experiments that are not there yet, return what there is; exits where one failed."""
    there = experiments()
    for name, (row, seed) in wanted.items():
        if state(there, name) == "Failed":
            shell("dvc", "queue", "remove", name)
        if state(there, name) in ("Failed", "Missing"):
            add(name, row, seed, source)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("experiments", total=len(wanted))
        while True:
            there = experiments()
            states = Counter(state(there, name) for name in wanted)
            progress.update(bar, completed=states["Success"])
            if states["Success"] == len(wanted):
                return there
            if failed := states["Failed"]:
                sys.exit(f"{failed} failed: see `dvc queue status` and `dvc queue logs NAME`")
            if "Running" not in {state(there, name) for name in there}:
                shell("dvc", "queue", "start")
            time.sleep(10)


def add(name: str, row: Row, seed: int, source: str) -> None:
    _, recipe, changes = row
    overrides = [*changes, f"data.source={source}", f"train.seed={seed}", "evaluate.shifts=1"]
    options = shell("k49", "recipe", recipe).split()
    given = [f"--set-param={override}" for override in overrides]
    shell("dvc", "exp", "run", "--queue", "--name", name, *options, *given)


def experiments() -> dict[str, dict]:
    """State and figures of the experiments of this commit, by name.

    While one runs, DVC shows the commit's own figures for those that it doesn't have yet. Now and
    then it waits for ever (libgit2/pygit2#1488), or an experiment's folder goes while it looks:
    then it is asked again.
    """
    while True:
        try:
            rows = csv.DictReader(io.StringIO(shell("dvc", "exp", "show", "--csv", timeout=60)))
        except subprocess.TimeoutExpired:
            continue
        except SystemExit as failed:
            if "failed to show experiments" not in str(failed):
                raise
            time.sleep(1)
            continue
        return {row["Experiment"]: row for row in rows if row["Experiment"]}


def state(there: dict[str, dict], name: str) -> str:
    """Of an experiment: Missing, Queued, Running, Failed or Success.

    DVC knows no state of one that came from another clone, and shows no such column if all did.
    """
    return there[name].get("State") or "Success" if name in there else "Missing"


def shell(*command: str, timeout: float | None = None) -> str:
    """What a command prints; if it fails, so does this one, with what it said last.

    It prints into files: a pipe would stay open as long as the worker of `dvc queue start` runs.
    """
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        done = subprocess.run(command, stdout=out, stderr=err, timeout=timeout)
        for file in (out, err):
            file.seek(0)
        if done.returncode:
            sys.exit(f"{' '.join(command[:4])}: {(err.read() or out.read()).strip()[-500:]}")
        return out.read()


def table(rows: list[Row], runs: dict[str, list[dict]], source: str, picture: str) -> str:
    first = runs[rows[0][0]]
    text = [
        "# Recipes, one change after the other",
        f"On {first[0]['test_data']}, {len(first)} training seed(s), by "
        f"`python -m benchmarks.ablation {source}` at commit {commit()}; "
        f"tensorflow {version('tensorflow-cpu')}, keras {version('keras')}. Percent: mean, "
        "standard deviation, and in brackets each seed's. Validation chooses the hyperparameters "
        "and, with early stopping, the epoch; test chooses nothing.",
        f"![A line for each row of the tables, a dot for each seed]({picture})",
    ]
    if steps := [row for row in rows if row[0] not in TRIED]:
        said = "Each step has what those above it have. The search runs anew for each."
        text += [said, section(steps, STEPS, runs)]
    for recipe, changes in DEAD_ENDS.items():
        if tried := [row for row in rows if row[0] in changes]:
            text += [f"## Dead ends: {recipe}", f"Changes of the {recipe} recipe that don't stay."]
            text += [section(tried, changes, runs)]
    return "\n\n".join(text) + "\n"


def section(rows: list[Row], changes: dict[str, list[str]], runs: dict[str, list[dict]]) -> str:
    lines = [f"| | what is new | {' | '.join(COLUMNS)} |", "|---|---|" + "---|" * len(COLUMNS)]
    for name, recipe, _ in rows:
        new = ", ".join(changes.get(name, [])) or f"k49 recipe {recipe}"
        cells = (spread(runs[name], key) for key in COLUMNS.values())
        lines.append(f"| {name} | `{new}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(runs: list[dict], key: str) -> str:
    values = percent(runs, key)
    each = ", ".join(f"{value:.1f}" for value in values)
    deviation = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{deviation} ({each})"


def percent(runs: list[dict], key: str) -> np.ndarray:
    return 100 * np.array([run[key] for run in runs], float)


def chart(runs: dict[str, list[dict]]) -> Figure:
    first = next(iter(runs.values()))[0]
    panels = {
        "accuracy, %": {"validation": ORANGE, "test": BLUE},
        "points": {"overfitting gap": GREY},
    }
    with figure_style():
        figure = Figure((10, 1.6 + 0.32 * len(runs)), layout="constrained")
        for axes, (label, columns) in zip(
            figure.subplots(1, 2, sharey=True, width_ratios=(2, 1)), panels.items(), strict=True
        ):
            for column, colour in columns.items():
                values = np.array([percent(row, COLUMNS[column]) for row in runs.values()])
                lines = np.arange(len(runs)).repeat(values.shape[1])
                axes.plot(values.ravel(), lines, "o", color=colour, alpha=0.7, label=column)
            axes.set_xlabel(label)
            axes.legend(frameon=False)
        axes.set_yticks(range(len(runs)), list(runs))
        axes.invert_yaxis()
        figure.suptitle(first["test_data"], fontsize=9)
    return figure


if __name__ == "__main__":
    main()
