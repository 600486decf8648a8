"""The search, top to bottom: ask the oracle for trials, train them, tell it their scores."""

import math
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, pairwise
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from k49.data import Dataset
from k49.errors import K49Error, is_out_of_memory
from k49.search.progress import Progress
from k49.search.results import Outcome, Result, Results, Trial
from k49.search.tuner import Oracle, middle, planned_epochs
from k49.search.workers import RESULT_SECONDS, Cluster, Events, Here
from k49.settings import Hyperparameters, SearchConfig, Settings, TrainingConfig
from k49.training import networks

ATTEMPTS = 3  # at a trial that is lost each time
EVENT_SECONDS = 0.25  # for which the search waits for an event before it looks around
ADVICE = (
    "finished trials are kept, and `dvc repro` continues. Lower fit.batch_size, tune.workers, or "
    "layers.max and units.max of the space"
)


@dataclass(frozen=True)
class SearchResult:
    """The winner, and a row for each trial in the order of the trials."""

    winner: Hyperparameters
    rows: list[dict]

    @property
    def metrics(self) -> dict:
        trained = [row for row in self.rows if row["status"] != "untrained"]
        scores = [row["val_accuracy"] for row in trained if row["status"] == "completed"]
        counts = {"tune_trials": len(trained), "tune_completed": len(scores)}
        return counts | ({"tune_val_accuracy": max(scores)} if scores else {})

    def __str__(self) -> str:
        if (best := self.metrics.get("tune_val_accuracy")) is None:
            return f"no search, since tune.trials is 1: the middle of the space, {self.winner}"
        return f"best of {len(self.rows)} trials: val_accuracy {best:.4f} with {self.winner}"


def search(config: SearchConfig, train: Dataset, val: Dataset, folder: Path) -> SearchResult:
    """Train the trials that the oracle asks for; the highest val_accuracy wins.

    With one trial there is nothing to choose: none is trained, the middle of the space wins.

    Trials whose results are in `folder` are not trained again. So an interrupted search continues
    where it was, with any number of workers, and ends as an uninterrupted one.

    Args:
        config: the space, the tuner, how many trials of how many epochs, and their recipe.
        train, val: to train each trial on, and to score it on.
        folder: of results.

    Raises:
        K49Error: no trial could be completed, memory ran out, the disk is full, or there is no
            cluster where there should be. Finished trials are kept then.
    """
    tune = config.tune
    networks.check_space(tune.space, config.space, tune.trials, train.images.shape[1:3])
    if not tune.searches:
        only = Outcome(Trial(1, middle(config.space), 0), "untrained", None, 0)
        return SearchResult(only.trial.hyperparameters, [only.row(tune.seed)])
    epochs = planned_epochs(config)
    oracle, outcomes = Oracle(config), list[Outcome]()
    results = Results(folder, (train, val), tune.threads)
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(len(epochs), sum(epochs)))
        trainer = Trainer(config, (train, val), results, progress)
        stack.callback(trainer.close)
        try:
            while trials := oracle.ask():
                generation = trainer.train(trials)
                oracle.tell(generation)
                outcomes += generation
        except KeyboardInterrupt:
            progress.say(f"{len(trainer.finished)} finished trials are kept in {folder}")
            raise
    completed = [outcome for outcome in outcomes if outcome.status == "completed"]
    if not completed:
        raise K49Error(
            f"none of {len(outcomes)} trials was completed, nothing is published; trial 1: "
            f"{outcomes[0].error}. If trials diverge, lower spaces.{tune.space}.learning_rate.max"
        )
    # of equally good trials the first
    best = max(completed, key=lambda outcome: outcome.score or 0.0)
    rows = [outcome.row(tune.seed) for outcome in outcomes]
    return SearchResult(best.trial.hyperparameters, rows)


def search_config(settings: Settings) -> SearchConfig:
    return SearchConfig(
        tune=settings.tune,
        space=settings.spaces[settings.tune.space],
        fit=settings.fit,
        augment=settings.augment,
    )


def trial_config(config: SearchConfig, trial: Trial) -> TrainingConfig:
    """Return how one trial is trained: as the winner will be, but for its length and seed.

    All trials share the seed, so that they differ in the searched hyperparameters alone.
    """
    return TrainingConfig(
        hyperparameters=trial.hyperparameters,
        fit=config.fit,
        augment=config.augment,
        epochs=trial.epochs,
        seed=config.tune.seed,
    )


def estimated_cost(trial: Trial, pixels: int, classes: int) -> int:
    """Estimate how long a trial takes: its epochs times its weights.

    Where several train at once, the longest start first, so that no worker is left with
    one of them at the end (Graham, SIAM J. Appl. Math. 17 (1969), doi:10.1137/0117039).
    """
    widths = [pixels, *trial.hyperparameters.units, classes]
    return trial.epochs * sum(math.prod(pair) for pair in pairwise(widths))


@dataclass
class Attempt:
    trial: Trial
    future: Any  # of the standard library or of Dask
    worker: str
    curve: list[float] = field(default_factory=list)  # val_accuracy after each epoch


class Trainer:
    """Trains the trials of a search on workers, several at once, and keeps their results."""

    def __init__(
        self,
        config: SearchConfig,
        data: tuple[Dataset, Dataset],
        results: Results,
        progress: Progress,
    ) -> None:
        self.config, self.data, self.results, self.progress = config, data, results, progress
        self.events: Events = SimpleQueue()
        self.attempts: dict[int, Attempt] = {}  # that run
        self.finished: dict[int, Result] = {}  # by trial number, of all generations
        self.times_lost: Counter[int] = Counter()  # of each trial
        self._numbers = count()
        self._files: dict[int, Path] = {}  # of the current generation, by trial number
        self._elsewhere: set[int] = set()  # trials that another search trains

    def train(self, trials: list[Trial]) -> list[Outcome]:
        """Train those trials that have no result.

        Returns:
            The outcome of each trial, in the order of the trials.

        Raises:
            K49Error: memory ran out, a trial was lost too often, a result can't be written.
        """
        self._files = {
            trial.number: self.results.path(trial_config(self.config, trial)) for trial in trials
        }
        waiting = deque(trials)
        self._take_results(waiting)
        self._tell_what_is_known(len(trials) - len(waiting))
        in_order = False
        while waiting or self.attempts:
            self.progress.size = sum(self.workers.threads().values())
            if self.progress.size > 1 and not in_order:
                pixels, classes = math.prod(self.data[0].images.shape[1:]), self.data[0].labels
                costs = {t.number: estimated_cost(t, pixels, classes.shape[1]) for t in waiting}
                waiting = deque(sorted(waiting, key=lambda trial: -costs[trial.number]))
                in_order = True
            self._give_up_gone(waiting)
            self._start(waiting)
            with explain_out_of_memory():
                self._handle_events(waiting)
            self._take_results(waiting)
        return [self._outcome(trial) for trial in trials]

    def close(self) -> None:
        if "workers" in self.__dict__:
            self.workers.close()
        self.results.close()

    @cached_property
    def workers(self) -> Here | Cluster:
        """The workers, which are there once there is a trial to train."""
        tune = self.config.tune
        if tune.scheduler is None:
            return Here(tune, self.data, self.events)
        return Cluster(tune, self.data, self.events, self.progress.say)

    def _take_results(self, waiting: deque[Trial]) -> None:
        """Take the results that are there, of earlier searches or of another that runs."""
        for trial in list(waiting):
            if result := self.results.get(self._files[trial.number]):
                waiting.remove(trial)
                self._record(trial, result)

    def _tell_what_is_known(self, known: int) -> None:
        if damaged := self.results.damaged & set(self._files.values()):
            self.progress.say(
                f"{len(damaged)} files in {self.results.folder} are damaged, as {min(damaged)}; "
                "their trials run again"
            )
        if known:
            self.progress.say(
                f"{known} of {len(self._files)} trials were trained before: their results are from "
                f"{self.results.folder}"
            )

    def _start(self, waiting: deque[Trial]) -> None:
        idle = Counter(self.workers.threads())
        idle.subtract(attempt.worker for attempt in self.attempts.values())
        for trial in list(waiting):
            worker, threads = max(idle.items(), key=lambda item: item[1], default=("", 0))
            if threads < 1:
                return
            path = self._files[trial.number]
            if not self.results.claim(path):
                if trial.number not in self._elsewhere:
                    self._elsewhere.add(trial.number)
                    self.progress.say(f"{self._name(trial)} is trained by another search already")
                continue
            if self.results.get(path):  # which has just finished it
                self.results.release(path)
                continue
            waiting.remove(trial)
            idle[worker] -= 1
            number = next(self._numbers)
            future = self.workers.start(number, trial_config(self.config, trial), worker)
            self.attempts[number] = attempt = Attempt(trial, future, worker)
            self.progress.start(trial, worker, attempt.curve)

    def _give_up_gone(self, waiting: deque[Trial]) -> None:
        """Let the trials of workers that left run again."""
        present = self.workers.threads()
        for number, attempt in list(self.attempts.items()):
            if attempt.worker not in present:
                attempt.future.cancel()
                self._lose(number, f"worker {attempt.worker} is gone", waiting)

    def _handle_events(self, waiting: deque[Trial]) -> None:
        """Handle all events that have arrived; wait EVENT_SECONDS for the first."""
        try:
            number, val_accuracy = self.events.get(timeout=EVENT_SECONDS)
            while True:
                if number in self.attempts:  # else it was given up
                    self._handle(number, val_accuracy, waiting)
                number, val_accuracy = self.events.get_nowait()
        except Empty:
            return

    def _handle(self, number: int, val_accuracy: float | None, waiting: deque[Trial]) -> None:
        attempt = self.attempts[number]
        if val_accuracy is not None:
            attempt.curve.append(val_accuracy)
            return
        try:
            result = attempt.future.result(timeout=RESULT_SECONDS)
        except Exception as error:
            if not (reason := self.workers.why_lost(error)):
                raise
            self._lose(number, reason, waiting)
            return
        del self.attempts[number]
        trial, path = attempt.trial, self._files[attempt.trial.number]
        try:
            self.results.add(path, trial_config(self.config, trial), result)
        except K49Error as error:
            raise K49Error(
                f"{self._name(trial)}: {error}; finished trials are kept, and `dvc repro` continues"
            ) from error
        self.results.release(path)
        self._record(trial, result)

    def _lose(self, number: int, reason: str, waiting: deque[Trial]) -> None:
        trial = self.attempts.pop(number).trial
        self.results.release(self._files[trial.number])
        self.times_lost[trial.number] += 1
        if self.times_lost[trial.number] == ATTEMPTS:
            raise K49Error(
                f"{self._name(trial)} was lost {ATTEMPTS} times, at last because {reason}: most "
                f"likely memory runs out; {ADVICE}"
            )
        self.progress.lose(trial.number, reason)
        waiting.appendleft(trial)

    def _record(self, trial: Trial, result: Result) -> None:
        self.finished[trial.number] = result
        self.progress.end(self._outcome(trial))

    def _outcome(self, trial: Trial) -> Outcome:
        result = self.finished[trial.number]
        if result.error is not None:
            return Outcome(trial, "failed", None, len(result.curve), result.error)
        return Outcome(trial, "completed", result.kept, len(result.curve))

    def _name(self, trial: Trial) -> str:
        return f"trial {trial.number}/{self.progress.total}"


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Raise K49Error where a trial's error says that memory ran out; let other errors pass."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise K49Error(f"out of memory in a trial; {ADVICE}") from error
        raise
