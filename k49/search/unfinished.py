"""Searches that were begun and never ended, for `k49 trials`."""

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from k49.search.journal import read_lines


@dataclass(frozen=True)
class Unfinished:
    """A search that was begun and never ended, as its journal tells."""

    path: Path
    header: dict  # begun, total, settings, versions
    trials: list[dict]  # lines of the journal, by number

    @property
    def name(self) -> str:
        """What `k49 trials` calls it."""
        return self.path.stem

    @property
    def best(self) -> float | None:
        """The highest val_accuracy of a trial that was trained to its end."""
        return max((line["kept"] for line in self.trials if line["kept"] is not None), default=None)


def unfinished(folder: Path) -> list[Unfinished]:
    """All journals in `folder`, the oldest first; one without a readable first line is left out."""
    found = []
    for path in folder.glob("*.jsonl"):
        lines = [line for line in read_lines(path) if line is not None]
        headers = [line for line in lines if "begun" in line]
        trials = {line["trial"]: line for line in lines if "trial" in line}
        if headers:
            found.append(Unfinished(path, headers[0], [trials[n] for n in sorted(trials)]))
    return sorted(found, key=lambda each: each.header["begun"])


def searches_table(searches: list[Unfinished]) -> Table:
    """A row a search."""
    table = Table("search", "begun", "tuner", "space", "trials", "best val_accuracy", box=None)
    for each in searches:
        tune = each.header["settings"]["tune"]
        table.add_row(
            each.name,
            each.header["begun"].replace("T", " ").removesuffix("+00:00") + " UTC",
            tune["tuner"],
            tune["space"],
            f"{len(each.trials)} of {each.header['total']}",
            "" if each.best is None else f"{each.best:.4f}",
        )
    return table


def trials_table(lines: list[dict]) -> Table:
    """A row a finished trial."""
    names = list(lines[0]["hyperparameters"]) if lines else []
    table = Table("trial", "val_accuracy", "epochs", *names, box=None)
    for line in lines:
        values = ["" if each is None else str(each) for each in line["hyperparameters"].values()]
        score = line["error"] or ("stopped" if line["kept"] is None else f"{line['kept']:.4f}")
        table.add_row(str(line["trial"]), score, str(len(line["curve"])), *values)
    return table
