"""Searches as their journals tell of them, for `k49 trials`."""

from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from rich.table import Table

from k49.errors import K49Error
from k49.search.journal import lock_of, read_lines
from k49.shown import in_terminal

COLUMNS = ("search", "begun", "tuner", "space", "trials", "state", "best val_accuracy")


@dataclass(frozen=True)
class KeptSearch:
    """A search as its journal tells."""

    path: Path
    header: dict  # begun, total, settings, versions
    trials: list[dict]  # lines of the journal, by number
    ended: bool

    @property
    def name(self) -> str:
        """Return the name that `k49 trials` shows."""
        return self.path.stem

    @property
    def best(self) -> float | None:
        """Return the highest val_accuracy of a trial that was trained to its end."""
        return max((line["kept"] for line in self.trials if line["kept"] is not None), default=None)

    def remove(self) -> None:
        """Remove the journal, so that this search starts from its first trial.

        Raises:
            K49Error: the search runs.
        """
        try:
            with FileLock(lock_of(self.path), timeout=0):
                self.path.unlink(missing_ok=True)
        except Timeout as error:
            raise K49Error(f"{self.path}: this search is running; stop it first") from error


def kept_searches(folder: Path) -> list[KeptSearch]:
    """Return the searches whose journals are in `folder`, oldest first, but unreadable ones."""
    found = []
    for path in folder.glob("*.jsonl"):
        lines = [line for line in read_lines(path) if line is not None]
        headers = [line for line in lines if "begun" in line]
        trials = {line["trial"]: line for line in lines if "trial" in line}
        if headers:
            ended = any("ended" in line for line in lines)
            found.append(KeptSearch(path, headers[0], [trials[n] for n in sorted(trials)], ended))
    return sorted(found, key=lambda kept: kept.header["begun"])


def searches_table(searches: list[KeptSearch]) -> Table:
    """Return a table with a row for each search."""
    table = Table(*COLUMNS, box=None)
    for one_search in searches:
        tune = one_search.header["settings"]["tune"]
        add_row(
            table,
            one_search.name,
            one_search.header["begun"].replace("T", " ").removesuffix("+00:00") + " UTC",
            tune["tuner"],
            tune["space"],
            f"{len(one_search.trials)} of {one_search.header['total']}",
            "ended" if one_search.ended else "unfinished",
            "" if one_search.best is None else f"{one_search.best:.4f}",
        )
    return table


def trials_table(lines: list[dict]) -> Table:
    """Return a table with a row for each finished trial."""
    names = [in_terminal(name) for name in lines[0]["hyperparameters"]] if lines else []
    table = Table("trial", "val_accuracy", "epochs", *names, box=None)
    for line in lines:
        values = ["" if value is None else str(value) for value in line["hyperparameters"].values()]
        score = line["error"] or ("stopped" if line["kept"] is None else f"{line['kept']:.4f}")
        add_row(table, str(line["trial"]), score, str(len(line["curve"])), *values)
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row of text as it is: a journal may hold anything."""
    table.add_row(*map(in_terminal, cells))
