"""Training the trials of a search, so many at a time, and keeping what each gives."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from k49.errors import K49Error
from k49.search.crew import Crew, Done, Epoch, Event, Lost, Said
from k49.search.journal import Journal
from k49.search.progress import Progress
from k49.search.stopping import Stopping
from k49.search.trials import Outcome, Result, Trial
from k49.settings import SearchConfig, TrainingConfig

ATTEMPTS = 3  # at a trial whose worker is lost each time


class Run:
    """The trials that are under way, and what is known of all so far."""

    def __init__(
        self,
        config: SearchConfig,
        journal: Journal,
        progress: Progress,
        hire: Callable[[], Crew],
    ) -> None:
        """`hire` is called when there is a trial to train, and not before."""
        self.config, self.journal, self.progress, self.hire = config, journal, progress, hire
        self.crew: Crew | None = None
        self.trials: dict[int, Trial] = {}  # of this generation
        self.results: dict[int, Result] = {}
        self.curves: dict[int, list[float]] = {}  # of trials under way
        self.losses: Counter[int] = Counter()
        self.stopping = Stopping()

    def generation(self, trials: list[Trial]) -> list[Outcome]:
        """Train those that the journal doesn't have; what became of all, in their order.

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
                self._keep(trial.number, result)
        while len(self.results) < len(trials):
            self.crew = crew = self.crew or self.hire()
            while waiting and (address := crew.free()) is not None:
                self._start(crew, waiting.popleft(), address)
            with memory_explained():
                for event in crew.hear():
                    self._take(event, waiting)
            self._stop_the_hopeless(crew)
            self.progress.size = crew.size
        return [self._judged(trial) for trial in trials]

    def _start(self, crew: Crew, trial: Trial, address: str) -> None:
        self.curves[trial.number] = curve = list[float]()
        self.progress.start(trial, crew.names[address], curve)
        crew.start(trial.number, trial_config(self.config, trial), address)

    def _take(self, event: Event, waiting: deque[Trial]) -> None:
        match event:
            case Epoch(number, val_accuracy):
                self.curves[number].append(val_accuracy)
                self.stopping.add(number, self.curves[number], finished=False)
            case Done(number, result):
                self.journal.add(self.trials[number], result)
                self._keep(number, result)
            case Lost(number, why):
                self.losses[number] += 1
                if self.losses[number] == ATTEMPTS:
                    raise K49Error(
                        f"trial {number} was lost {ATTEMPTS} times, at last because {why}: most "
                        f"likely memory runs out; {KEPT}"
                    )
                self.progress.lose(number, why)
                waiting.appendleft(self.trials[number])
            case Said(line):
                self.progress.say(line)

    def _keep(self, number: int, result: Result) -> None:
        self.results[number] = result
        self.stopping.add(number, result.curve, finished=True)
        self.progress.end(self._judged(self.trials[number]))

    def _stop_the_hopeless(self, crew: Crew) -> None:
        if not self._may_stop:
            return
        for number, epoch in list(self.stopping.hopeless().items()):
            if number in crew.running and epoch < self.trials[number].epochs:
                crew.drop(number)
                result = Result(self.curves[number][:epoch])
                self.journal.add(self.trials[number], result)
                self._keep(number, result)

    @property
    def _may_stop(self) -> bool:
        """Not with hyperband, whose trials differ in their epochs and so in their schedules."""
        return self.config.tune.median_stopping and self.config.tune.tuner != "hyperband"

    def _judged(self, trial: Trial) -> Outcome:
        """By the median rule first: what came after it stopped a trial doesn't count."""
        result = self.results[trial.number]
        epoch = self.stopping.hopeless().get(trial.number) if self._may_stop else None
        if epoch is not None and epoch < trial.epochs:
            return Outcome(trial, "stopped", result.curve[epoch - 1], epoch)
        if result.error is not None:
            return Outcome(trial, "failed", None, len(result.curve), result.error)
        return Outcome(trial, "completed", result.kept, len(result.curve))


def trial_config(config: SearchConfig, trial: Trial) -> TrainingConfig:
    """How one trial is trained: as the winner will be, but for its length and seed.

    All trials share the seed, so that they differ in nothing but what is searched.
    """
    return TrainingConfig(
        hyperparameters=trial.hyperparameters,
        fit=config.fit,
        augment=config.augment,
        epochs=trial.epochs,
        seed=config.tune.seed,
    )


KEPT = (
    "finished trials are kept, and `dvc repro` goes on. Lower fit.batch_size, tune.workers, or "
    "layers.max and units.max of the space"
)


@contextmanager
def memory_explained() -> Iterator[None]:
    """K49Error where a trial's own error says that memory ran out; others are the program's."""
    try:
        yield
    except Exception as error:
        told = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
        if told or str(error).startswith("ResourceExhaustedError"):  # which can't be pickled
            raise K49Error(f"out of memory in a trial; {KEPT}") from error
        raise
