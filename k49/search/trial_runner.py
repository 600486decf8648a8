"""Trains the trials of a search, several at a time, and keeps their results."""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

from k49.errors import K49Error, is_out_of_memory
from k49.search.journal import Journal
from k49.search.pool import Done, Epoch, Event, Lost, Message, WorkerPool
from k49.search.progress import Progress
from k49.search.trials import Outcome, Result, Trial
from k49.settings import SearchConfig, TrainingConfig

ATTEMPTS = 3  # at a trial whose worker is lost each time


class TrialRunner:
    """Trains the trials of a search on a worker pool, and keeps what is known of them.

    Args:
        config: of the search.
        journal: has the results of trials that were finished before, and gets the new ones.
        progress: is told of each event.
        open_pool: called when there is a trial to train, and not before.
        ends: pixels of an image, and classes: the widths before and behind a network's own.
    """

    def __init__(
        self,
        config: SearchConfig,
        journal: Journal,
        progress: Progress,
        open_pool: Callable[[], WorkerPool],
        ends: tuple[int, int],
    ) -> None:
        self.config, self.journal, self.progress, self.ends = config, journal, progress, ends
        self.open_pool = open_pool
        self.pool: WorkerPool | None = None
        self.trials: dict[int, Trial] = {}  # of the current generation
        self.results: dict[int, Result] = {}
        self.curves: dict[int, list[float]] = {}  # of running trials
        self.losses: Counter[int] = Counter()

    def run_generation(self, trials: list[Trial]) -> list[Outcome]:
        """Train those trials that the journal doesn't have.

        Returns:
            The outcome of each trial, in the order of the trials.

        Raises:
            K49Error: memory ran out, a worker was lost too often, the journal can't be written.
        """
        self.trials = {trial.number: trial for trial in trials}
        self.results = {}
        waiting = deque[Trial]()
        for trial in trials:
            result = self.journal.get(trial)
            if result is None:
                waiting.append(trial)
            else:
                self._record(trial.number, result)
        in_order = False
        while len(self.results) < len(trials):
            self.pool = pool = self.pool or self.open_pool()
            if pool.size > 1 and not in_order:
                waiting, in_order = (
                    deque(sorted(waiting, key=partial(work, *self.ends), reverse=True)),
                    True,
                )
            while waiting and (address := pool.idle_worker()) is not None:
                self._start(pool, waiting.popleft(), address)
            with explain_out_of_memory():
                for event in pool.poll():
                    self._handle(event, waiting)
            self.progress.size = pool.size
        return [self._outcome(trial) for trial in trials]

    def _start(self, pool: WorkerPool, trial: Trial, address: str) -> None:
        self.curves[trial.number] = curve = list[float]()
        self.progress.start(trial, pool.names[address], curve)
        pool.start(trial.number, trial_config(self.config, trial), address)

    def _handle(self, event: Event, waiting: deque[Trial]) -> None:
        match event:
            case Epoch(number, val_accuracy):
                self.curves[number].append(val_accuracy)
            case Done(number, result):
                self._finish(number, result)
            case Lost(number, reason):
                self.losses[number] += 1
                if self.losses[number] == ATTEMPTS:
                    raise K49Error(
                        f"trial {number} was lost {ATTEMPTS} times, at last because {reason}: most "
                        f"likely memory runs out; {ADVICE}"
                    )
                self.progress.lose(number, reason)
                waiting.appendleft(self.trials[number])
            case Message(line):
                self.progress.say(line)

    def _finish(self, number: int, result: Result) -> None:
        self.journal.add(self.trials[number], result)
        self._record(number, result)

    def _record(self, number: int, result: Result) -> None:
        self.results[number] = result
        self.progress.end(self._outcome(self.trials[number]))

    def _outcome(self, trial: Trial) -> Outcome:
        result = self.results[trial.number]
        if result.error is not None:
            return Outcome(trial, "failed", None, len(result.curve), result.error)
        return Outcome(trial, "completed", result.kept, len(result.curve))


def work(pixels: int, classes: int, trial: Trial) -> int:
    """Estimate how long a trial takes, in units of its own: epochs times weights.

    Where several train at once, those that take longest start first, so that no worker is left with
    one of them at the end (Graham, SIAM J. Appl. Math. 17 (1969), doi:10.1137/0117039).
    """
    widths = [pixels, *trial.hyperparameters.units, classes]
    return trial.epochs * sum(math.prod(pair) for pair in pairwise(widths))


def trial_config(config: SearchConfig, trial: Trial) -> TrainingConfig:
    """Return how one trial is trained: as the winner will be, but for its length and seed.

    All trials share the seed, so that they differ in nothing but what is searched.
    """
    return TrainingConfig(
        hyperparameters=trial.hyperparameters,
        fit=config.fit,
        augment=config.augment,
        epochs=trial.epochs,
        seed=config.tune.seed,
    )


ADVICE = (
    "finished trials are kept, and `dvc repro` goes on. Lower fit.batch_size, tune.workers, or "
    "layers.max and units.max of the space"
)


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Raise K49Error where a trial's error says that memory ran out; let other errors pass."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise K49Error(f"out of memory in a trial; {ADVICE}") from error
        raise
