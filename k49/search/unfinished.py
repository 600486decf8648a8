"""Searches that were begun and never ended, for `k49 trials`."""

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from k49.search.journal import read_lines


@dataclass(frozen=True)
class UnfinishedSearch:
    """A search that was begun and never ended, as its journal tells."""

    path: Path
    header: dict  # begun, total, settings, versions
    trials: list[dict]  # lines of the journal, by number

    @property
    def name(self) -> str:
        """Return the name that `k49 trials` shows."""
        return self.path.stem

    @property
    def best(self) -> float | None:
        """Return the highest val_accuracy of a trial that was trained to its end."""
        return max((line["kept"] for line in self.trials if line["kept"] is not None), default=None)


def unfinished_searches(folder: Path) -> list[UnfinishedSearch]:
    """Return the searches whose journals are in `folder`, oldest first, but unreadable ones."""
    found = []
    for path in folder.glob("*.jsonl"):
        lines = [line for line in read_lines(path) if line is not None]
        headers = [line for line in lines if "begun" in line]
        trials = {line["trial"]: line for line in lines if "trial" in line}
        if headers:
            found.append(UnfinishedSearch(path, headers[0], [trials[n] for n in sorted(trials)]))
    return sorted(found, key=lambda unfinished: unfinished.header["begun"])


def searches_table(searches: list[UnfinishedSearch]) -> Table:
    """Return a table with a row for each search."""
    table = Table("search", "begun", "tuner", "space", "trials", "best val_accuracy", box=None)
    for one_search in searches:
        tune = one_search.header["settings"]["tune"]
        table.add_row(
            one_search.name,
            one_search.header["begun"].replace("T", " ").removesuffix("+00:00") + " UTC",
            tune["tuner"],
            tune["space"],
            f"{len(one_search.trials)} of {one_search.header['total']}",
            "" if one_search.best is None else f"{one_search.best:.4f}",
        )
    return table


def trials_table(lines: list[dict]) -> Table:
    """Return a table with a row for each finished trial."""
    names = list(lines[0]["hyperparameters"]) if lines else []
    table = Table("trial", "val_accuracy", "epochs", *names, box=None)
    for line in lines:
        values = ["" if value is None else str(value) for value in line["hyperparameters"].values()]
        score = line["error"] or ("stopped" if line["kept"] is None else f"{line['kept']:.4f}")
        table.add_row(str(line["trial"]), score, str(len(line["curve"])), *values)
    return table
