"""The median stopping rule: a trial that is behind the others is not trained to its end.

Golovin et al., Google Vizier, KDD 2017, doi:10.1145/3097983.3098043, section 3.2.2: a trial is
stopped after an epoch if its best figure is below the median of the other trials' running means
there. Here the others are those with a lower number, as if trials ran one after the other, so that
it makes no difference how many ran at once: one that ran on while the others' figures were not
known yet is cut afterwards.
"""

from statistics import fmean, median

NEEDED = 3  # other trials that got as far


class MedianStopping:
    """Decides which trials of a search are stopped, and after which epoch."""

    def __init__(self) -> None:
        self.curves: dict[int, list[float]] = {}  # val_accuracy after each epoch, as far as known
        self.finished: set[int] = set()  # trials of which no more will be known
        self.stopped: dict[int, int] = {}  # after which epoch
        self.checked: dict[int, int] = {}  # epochs of a trial that were judged

    def add(self, number: int, curve: list[float], finished: bool) -> None:
        """Set what is known of a trial: its val_accuracy after each epoch so far.

        Numbers count from 1 without gaps; trials may come in any order.
        """
        self.curves[number] = curve
        if finished:
            self.finished.add(number)

    def to_stop(self) -> dict[int, int]:
        """Return the trials to stop, and after which epoch, as far as is known already."""
        for number in sorted(self.curves):
            while number not in self.stopped and self.checked.get(number, 0) < len(
                self.curves[number]
            ):
                epoch = self.checked.get(number, 0) + 1
                others = self._running_means(number, epoch)
                if others is None:
                    break
                self.checked[number] = epoch
                best = max(self.curves[number][:epoch])
                if len(others) >= NEEDED and best < median(others):
                    self.stopped[number] = epoch
        return self.stopped

    def _running_means(self, number: int, epoch: int) -> list[float] | None:
        """Return those of lower trials that got as far; None while one of them still may."""
        means = []
        for other in range(1, number):
            curve = self.curves.get(other, [])
            if self.stopped.get(other, epoch) < epoch:
                continue
            if self.checked.get(other, 0) < min(epoch, len(curve)):
                return None  # it may turn out to be stopped before
            if len(curve) >= epoch:
                means.append(fmean(curve[:epoch]))
            elif other not in self.finished:
                return None
        return means
