"""Shows a search while it runs: a live table in a terminal, else a line for each event."""

import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from k49.search.results import Outcome, StoredResult, Trial
from k49.settings import Hyperparameters, TrainingConfig
from k49.text import in_terminal

LATEST = 5  # finished trials that stay in the table


class Running(NamedTuple):
    trial: Trial
    worker: str
    curve: list[float]  # val_accuracy after each epoch; grows while it runs
    begun: float


class Progress:
    """Says how far a search is, how good, and how long still. A context manager."""

    def __init__(self, total: int, epochs: int) -> None:
        self.total, self.epochs = total, epochs
        self.running: dict[int, Running] = {}
        self.ended: list[Outcome] = []
        self.seconds, self.epochs_trained = 0.0, 0  # seconds and epochs of the trials that ran here
        self.size = 1  # how many run at once
        self.console = Console()
        self.live = Live(console=self.console, get_renderable=self._table, refresh_per_second=4)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def say(self, line: str) -> None:
        if self.console.is_terminal:
            self.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def start(self, trial: Trial, worker: str, curve: list[float]) -> None:
        """Note that a trial begins; the search appends each epoch's val_accuracy to `curve`."""
        self.running[trial.number] = Running(trial, worker, curve, time.perf_counter())
        if not self.console.is_terminal:
            where = f" on worker {worker}" if worker else ""
            self.say(f"trial {trial.number}/{self.total}{where}  {trial.hyperparameters}")

    def lose(self, number: int, reason: str) -> None:
        del self.running[number]
        self.say(f"trial {number}/{self.total}: {reason}; it runs again")

    def end(self, outcome: Outcome) -> None:
        self.ended.append(outcome)
        number = outcome.trial.number
        if number not in self.running:
            return  # it was trained before
        seconds = time.perf_counter() - self.running.pop(number).begun
        self.seconds += seconds
        self.epochs_trained += outcome.epochs
        if not self.console.is_terminal:
            self.say(
                f"trial {number}/{self.total}: {describe_outcome(outcome)}, {self.best()}  "
                f"{seconds:.1f} s, {self.left()}"
            )

    def best(self) -> str:
        scored = [outcome for outcome in self.ended if outcome.status == "completed"]
        if not scored:
            return "none completed so far"
        best = max(scored, key=lambda outcome: outcome.score or 0)
        return f"best so far {best.score:.4f} (trial {best.trial.number})"

    def left(self) -> str:
        """Return the time left, by the mean time of the epochs that ran here."""
        if not self.epochs_trained:
            return "time left: after the first trial"
        epochs = self.epochs - sum(outcome.trial.epochs for outcome in self.ended)
        epochs -= sum(len(trial.curve) for trial in self.running.values())
        seconds = epochs * self.seconds / self.epochs_trained / max(1, self.size)
        return f"about {max(0, seconds):.0f} s left"

    def _table(self) -> Group:
        table = Table(box=None)
        for column in ("trial", "worker", "hyperparameters", "epoch", "val_accuracy"):
            table.add_column(column)
        for outcome in self.ended[-LATEST:]:
            trial = outcome.trial
            table.add_row(
                str(trial.number),
                "",
                format_hyperparameters(trial.hyperparameters),
                str(outcome.epochs),
                describe_outcome(outcome).removeprefix("val_accuracy "),
            )
        for number, (trial, worker, curve, _) in sorted(self.running.items()):
            now = f"{curve[-1]:.4f}" if curve else "begun"
            at = f"{len(curve)}/{trial.epochs}"
            table.add_row(
                str(number),
                worker,
                format_hyperparameters(trial.hyperparameters),
                at,
                now,
                style="bold",
            )
        done = f"{len(self.ended)} of {self.total} trials, {self.size} at once"
        return Group(table, f"{done}; {self.best()}; {self.left()}")


def describe_outcome(outcome: Outcome) -> str:
    """Return `val_accuracy 0.9123`, or why there is none."""
    if outcome.status == "failed":
        return f"failed ({outcome.error})"
    return f"val_accuracy {outcome.score:.4f}"


def format_hyperparameters(hyperparameters: Hyperparameters) -> str:
    words = [
        f"{hyperparameters.units}",
        hyperparameters.activation,
        hyperparameters.initializer,
        f"{hyperparameters.learning_rate:g}",
    ]
    decay = (
        [] if hyperparameters.weight_decay is None else [f"decay {hyperparameters.weight_decay:g}"]
    )
    return " ".join(words + decay)


def results_table(results: dict[Path, StoredResult]) -> Table:
    """Return a table with a row for each result: the trials that no search trains again."""
    names = (
        "name",
        "finished, UTC",
        "data",
        "network",
        "epochs",
        "hyperparameters",
        "val_accuracy",
    )
    table = Table(*names, box=None)
    for path, result in results.items():
        training = TrainingConfig.model_validate(result.inputs["training"])
        kept = "" if result.kept is None else f"{result.kept:.4f}"
        cells = (
            path.stem,
            result.finished.replace("T", " ").removesuffix("+00:00"),
            str(result.inputs["data"])[:8],
            training.hyperparameters.network,
            f"{training.epochs}",
            format_hyperparameters(training.hyperparameters),
            result.error or kept,
        )
        table.add_row(*map(in_terminal, cells))
    return table
