"""The search, top to bottom: ask the oracle for trials, train them, tell it their scores."""

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from k49.data import Dataset
from k49.errors import K49Error
from k49.search.journal import Journal
from k49.search.oracle import Oracle, planned_epochs
from k49.search.pool import WorkerPool
from k49.search.progress import Progress
from k49.search.trial_runner import TrialRunner
from k49.search.trials import Outcome
from k49.settings import Hyperparameters, SearchConfig, Settings
from k49.training import networks


@dataclass(frozen=True)
class SearchResult:
    """The winner, and a row for each trial in the order of the trials."""

    winner: Hyperparameters
    rows: list[dict]
    path: Path  # of the journal, from which a rerun takes all of it

    @property
    def metrics(self) -> dict:
        """Return the numbers of trials and of completed ones, and the best val_accuracy."""
        scores = [row["val_accuracy"] for row in self.rows if row["status"] == "completed"]
        return {
            "tune_trials": len(self.rows),
            "tune_completed": len(scores),
            "tune_val_accuracy": max(scores),
        }

    def __str__(self) -> str:
        best = self.metrics["tune_val_accuracy"]
        return f"best of {len(self.rows)} trials: val_accuracy {best:.4f} with {self.winner}"


def search(config: SearchConfig, train: Dataset, val: Dataset, scratch: Path) -> SearchResult:
    """Train the trials that the oracle asks for; the highest val_accuracy wins.

    An interrupted search goes on with the trials that it was at, and ends as an uninterrupted one;
    so does one with another number of workers. One that has ended is not run again.

    Args:
        config: what to choose from, how, how many trials of how many epochs, and their recipe.
        train, val: what each trial learns from, and what it is scored on.
        scratch: folder for journals.

    Raises:
        K49Error: no trial could be completed, memory ran out, the disk is full, or there is no
            cluster where there should be. Finished trials are kept then.
    """
    networks.check_space(
        config.tune.space, config.space, config.tune.trials, train.images.shape[1:3]
    )
    epochs = planned_epochs(config)
    total = len(epochs)
    oracle, outcomes = Oracle(config), list[Outcome]()
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(total, sum(epochs)))
        data = train, val
        journal = stack.enter_context(Journal(scratch, config, data, total, progress.say))
        if journal.results or journal.damaged:
            progress.say(resume_message(journal, total))

        def open_pool() -> WorkerPool:
            return stack.enter_context(WorkerPool(config.tune, train, val))

        ends = math.prod(train.images.shape[1:]), train.labels.shape[1]
        runner = TrialRunner(config, journal, progress, open_pool, ends)
        try:
            while trials := oracle.ask():
                generation = runner.run_generation(trials)
                oracle.tell(generation)
                outcomes += generation
        except KeyboardInterrupt:
            progress.say(f"{len(journal.results)} finished trials are kept in {journal.path}")
            raise
        completed = [outcome for outcome in outcomes if outcome.status == "completed"]
        if not completed:
            journal.discard()
            raise K49Error(
                f"none of {len(outcomes)} trials was completed, nothing is published; trial 1: "
                f"{outcomes[0].error}. If trials diverge, lower "
                f"spaces.{config.tune.space}.learning_rate.max"
            )
        journal.end()
    # of equally good trials the first
    best = max(completed, key=lambda outcome: outcome.score or 0.0)
    rows = [outcome.row(config.tune.seed) for outcome in outcomes]
    return SearchResult(best.trial.hyperparameters, rows, journal.path)


def resume_message(journal: Journal, total: int) -> str:
    """Return a line that says how many trials of this search are finished already."""
    kept = f"{journal.path}, which has {len(journal.results)} of {total} trials"
    line = f"going on with {kept}"
    if journal.ended:
        line = f"searched before: the result is from {kept}; to search again, remove it"
    if journal.damaged:
        line += f"; {journal.damaged} of its lines can't be read, and their trials run again"
    return line


def search_config(settings: Settings) -> SearchConfig:
    """Return how to search, in the space that `tune.space` names."""
    return SearchConfig(
        tune=settings.tune,
        space=settings.spaces[settings.tune.space],
        fit=settings.fit,
        augment=settings.augment,
    )
