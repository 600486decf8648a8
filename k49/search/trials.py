"""What a trial is, what its training gives, and what becomes of it."""

from dataclasses import asdict, dataclass
from typing import Literal

from k49.settings import Hyperparameters


@dataclass(frozen=True)
class Trial:
    """One combination to train, for so many epochs."""

    number: int  # from 1
    hyperparameters: Hyperparameters
    epochs: int


@dataclass(frozen=True)
class Result:
    """What a trial's training gave; the same wherever it ran."""

    curve: list[float]  # val_accuracy after each epoch
    kept: float | None = None  # val_accuracy of the weights that training would keep, at its end
    error: str | None = None  # why there is no end


@dataclass(frozen=True)
class Outcome:
    """A trial judged beside the others."""

    trial: Trial
    status: Literal["completed", "failed"]
    score: float | None  # val_accuracy
    epochs: int
    error: str | None = None

    def row(self, seed: int) -> dict:
        """Return the trial's row of `plots/trials.json`."""
        hyperparameters = self.trial.hyperparameters
        return {
            "trial": self.trial.number,
            "status": self.status,
            "val_accuracy": None if self.score is None else round(self.score, 6),
            "epochs": self.epochs,
            "max_epochs": self.trial.epochs,
            "seed": seed,
            "layers": len(hyperparameters.units),
            **hyperparameters.model_dump(),
            "error": self.error,
        }


def record(trial: Trial, result: Result) -> dict:
    """Return a trial and its result as a line of the journal."""
    return {
        "trial": trial.number,
        "hyperparameters": trial.hyperparameters.model_dump(),
        "epochs": trial.epochs,
        **asdict(result),
    }
