"""The search: resumable, repeatable, and never won by a trial that failed."""

import io
import itertools
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from distributed import SpecCluster
from filelock import FileLock

from k49.errors import K49Error
from k49.search import pool, progress
from k49.search.journal import Journal, lock_of
from k49.search.search import search
from k49.search.trial_runner import TrialRunner, trial_config
from k49.search.trials import Outcome, Result, Trial
from k49.search.versions import versions_and_code
from k49.search.worker import report_epoch
from tests.helpers import SMALL_MODEL
from tests.search.small import TRIALS, config


def test_trials_train_as_the_winner_will_and_differ_in_nothing_else():
    """Was: another seed for each, no dropout, and the best epoch's accuracy instead of the kept."""
    recipe = config().fit.model_copy(update={"dropout": 0.3, "schedule": "constant", "patience": 1})
    settings = config(fit=recipe)
    one, other = (
        trial_config(settings, Trial(1, SMALL_MODEL.model_copy(update={"learning_rate": rate}), 2))
        for rate in (0.1, 0.2)
    )
    assert one.fit == other.fit == recipe
    assert one.seed == other.seed == settings.tune.seed
    assert one.epochs == other.epochs == settings.tune.epochs


# trials that fail


ANSWERS = []  # of `work_faked`, which is pickled by its name


def work_faked(job, data):
    found = ANSWERS[0]()
    return Result([], error="diverged") if found is None else Result([found], found)


@pytest.fixture
def faked(monkeypatch, train, val, tmp_path):
    """A function that searches without training; `accuracy` is of a trial's number, or None."""
    monkeypatch.setattr(pool, "train_trial", work_faked)

    def run(accuracy, **changes):
        trials = itertools.count(1)
        ANSWERS[:] = [lambda: accuracy(next(trials))]
        settings = config(workers=1, **changes)
        return search(settings, train, val, tmp_path / str("seed" in changes))

    return run


def work_by_rate(job, data):
    """A trial that ends when chance wants it to, with a curve that its hyperparameters decide."""
    rate = job.config.hyperparameters.learning_rate
    curve = []
    for epoch in range(1, job.config.epochs + 1):
        time.sleep(float(np.random.default_rng().uniform(0, 0.02)))
        curve.append(1 - 100 * rate / epoch)
        report_epoch(job, curve[-1])
    return Result(curve, kept=curve[-1])


@pytest.mark.parametrize("tuner", ["random", "hyperband", "bayesian"])
def test_any_number_of_workers_finds_the_same(monkeypatch, train, val, tmp_path, tuner):
    monkeypatch.setattr(pool, "train_trial", work_by_rate)
    settings = {"tuner": tuner, "trials": 8, "epochs": 9}
    one, three = (
        search(config(workers=workers, **settings), train, val, tmp_path / str(workers))
        for workers in (1, 3)
    )
    assert one.rows == three.rows
    assert one.winner == three.winner
    best = max(one.rows, key=lambda row: row["val_accuracy"])
    assert best["status"] == "completed"
    again = search(config(workers=2, **settings), train, val, tmp_path / "3")
    assert again.rows == one.rows, "and from the journal"


def test_cluster_that_takes_its_time_to_end_holds_nothing_up(faked, monkeypatch):
    """Was: a traceback behind a search that had ended, or had been stopped."""
    close = SpecCluster.close

    def closed_late(self, timeout=None):
        close(self)
        raise TimeoutError(f"timed out after {timeout} s.")

    monkeypatch.setattr(SpecCluster, "close", closed_late)
    assert faked(lambda trial: trial / 10).winner


def test_search_without_a_good_trial_publishes_nothing(faked, tmp_path):
    with pytest.raises(K49Error, match="none of 3 trials was completed") as error:
        faked(lambda trial: None)
    assert "\n" not in str(error.value)
    assert "diverged" in str(error.value)
    assert not list(tmp_path.rglob("*.jsonl")), "it may go better next time"


def test_diverged_trial_is_recorded_and_never_wins(faked):
    result = faked(lambda trial: None if trial == 2 else trial / 10, trials=3)
    assert [row["status"] for row in result.rows] == ["completed", "failed", "completed"]
    assert result.rows[1]["val_accuracy"] is None
    assert "diverged" in result.rows[1]["error"]
    assert result.winner.learning_rate == result.rows[2]["learning_rate"]
    assert result.metrics["tune_completed"] == 2


class FakePool:
    """Two workers; a trial ends when it is next looked, and a list says which were started."""

    size, names = 2, {"a": "1", "b": "2"}

    def __init__(self):
        self.running, self.started = {}, []

    def idle_worker(self):
        return next(iter(set(self.names) - set(self.running.values())), None)

    def start(self, number, config, address):
        self.running[number] = address
        self.started.append(number)

    def poll(self):
        number = next(iter(self.running))
        del self.running[number]
        yield pool.Done(number, Result([0.5], 0.5))


def test_where_several_train_at_once_the_longest_start_first(train, val, tmp_path):
    """Was: a worker had the longest at the end, while the other had nothing left to do."""
    settings, fake = config(), FakePool()
    layers = [(8,), (64, 64), (32,), (64,)]
    trials = [
        Trial(number, SMALL_MODEL.model_copy(update={"units": list(units)}), 1)
        for number, units in enumerate(layers, start=1)
    ]
    with (
        progress.Progress(4, 4) as shown,
        Journal(tmp_path, settings, (train, val), 4, shown.say) as journal,
    ):
        outcomes = TrialRunner(settings, journal, shown, lambda: fake, (784, 49)).run_generation(
            trials
        )
    assert fake.started == [2, 4, 3, 1]
    assert [outcome.trial for outcome in outcomes] == trials


def test_trial_that_gets_nothing_right_is_not_called_failed(faked, capsys):
    result = faked(lambda trial: 0.0, trials=2)
    assert [row["status"] for row in result.rows] == ["completed"] * 2
    assert [row["val_accuracy"] for row in result.rows] == [0, 0]
    assert "failed" not in capsys.readouterr().out


def test_terminal_shows_one_table(faked, capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    faked(lambda trial: None if trial == 2 else trial / 10)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    last = shown[shown.rindex("trial  worker  hyperparameters") :]
    assert re.search(r"\n 1 .*relu he_uniform 0\.0\d+ +1 +0\.1000", last)
    assert re.search(r"\n 2 .* failed \(diverged\)", last)
    assert "3 of 3 trials, 1 at once; best so far 0.3000 (trial 3); about 0 s left" in last
    assert "network=" not in shown, "no lines beside the table"


def test_time_left_goes_by_epochs_and_not_by_trials(monkeypatch, capsys):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(progress, "time", clock)
    shown = progress.Progress(total=3, epochs=1 + 3 + 9)  # as hyperband's
    for number, epochs in ((1, 1), (2, 3)):
        trial = Trial(number, SMALL_MODEL, epochs)
        shown.start(trial, worker="1", curve=[])
        clock.now += 2 * epochs
        shown.end(Outcome(trial, "completed", 0.5, epochs))
    assert capsys.readouterr().out.endswith("6.0 s, about 18 s left\n")


def test_seed_zero_is_a_seed(faked):
    zero = faked(lambda trial: 0.5, seed=0)
    zero.path.unlink()
    again, one = (faked(lambda trial: 0.5, seed=seed) for seed in (0, 1))
    assert zero.rows == again.rows
    assert zero.winner != one.winner
    rates = [{row["learning_rate"] for row in result.rows} for result in (zero, one)]
    assert not rates[0] & rates[1]


def test_weight_decay_is_searched_where_the_space_has_one(faked):
    bounds = {"min": 0.01, "max": 0.1}
    space = config().space
    searched = space.model_copy(update={"weight_decay": type(space.learning_rate)(**bounds)})
    decays = {row["weight_decay"] for row in faked(lambda trial: 0.5, space=searched).rows}
    assert len(decays) == TRIALS
    assert all(0.01 <= decay <= 0.1 for decay in decays)
    assert {row["weight_decay"] for row in faked(lambda trial: 0.5).rows} == {None}


def test_blocks_of_a_cnn_double_their_filters(faked):
    space = config().space.model_copy(update={"network": "cnn"})
    rows = faked(lambda trial: 0.5, space=space, trials=5).rows
    assert {row["network"] for row in rows} == {"cnn"}
    assert len({row["layers"] for row in rows}) > 1
    for row in rows:
        assert row["units"] == [row["units"][0] * 2**i for i in range(row["layers"])]


# what stops a search


def breaks_at(number, error):
    """An accuracy for `faked` that is raised instead of found, by one trial."""

    def accuracy(trial):
        if trial == number:
            raise error
        return trial / 10

    return accuracy


@pytest.mark.parametrize("error", [MemoryError(), TypeError("a bug"), FileNotFoundError("a file")])
def test_only_divergence_may_fail_a_trial(faked, error):
    """Was: recorded as "failed", the next trial run, a winner published, exit status 0."""
    breaks = breaks_at(2, error)
    if isinstance(error, MemoryError):
        with pytest.raises(K49Error, match=r"out of memory .* fit\.batch_size") as caught:
            faked(breaks)
        assert len(str(caught.value).splitlines()) == 1
    else:
        with pytest.raises(type(error), match=str(error)):
            faked(breaks)


def test_search_that_was_stopped_goes_on_with_the_trial_that_broke(faked, capsys):
    with pytest.raises(K49Error):
        faked(breaks_at(2, MemoryError()))
    capsys.readouterr()
    result = faked(lambda trial: 0.9)
    assert re.findall(r"^trial (\d)/.*network", capsys.readouterr().out, re.MULTILINE) == ["2", "3"]
    assert [row["val_accuracy"] for row in result.rows] == [0.1, 0.9, 0.9]


@pytest.mark.parametrize("left", [1, 0.5, 0])
def test_half_a_line_costs_its_trial_and_no_other(faked, capsys, left):
    """As a power cut or a full disk leaves it. Was: all trials run again."""
    first = faked(lambda trial: trial / 10)
    *lines, last, _ = first.path.read_bytes().split(b"\n")
    first.path.write_bytes(b"\n".join([*lines, last[: int(left * len(last))]]))
    capsys.readouterr()
    again = faked(lambda trial: 3 / 10)
    said = capsys.readouterr().out
    assert re.findall(r"^trial (\d)/.*network", said, re.MULTILINE) == ([] if left == 1 else ["3"])
    assert ("1 of its lines can't be read" in said) == (left == 0.5)
    assert again.rows == first.rows
    assert faked(lambda trial: 1 / 0).rows == first.rows, "all are in the journal now"


@contextmanager
def no_file_above(size):
    """As on a disk with so little room: writes end in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_told_and_costs_no_finished_trial(faked):
    """Was: half a file, which no later run could read."""
    first = faked(lambda trial: trial / 10)
    *_, last, end = first.path.read_bytes().split(b"\n")
    size = first.path.stat().st_size - len(last) // 2 - len(end)
    first.path.unlink()
    with no_file_above(size), pytest.raises(K49Error, match="trial 3 not written") as error:
        faked(lambda trial: trial / 10)
    assert "\n" not in str(error.value)
    assert faked(lambda trial: 3 / 10).rows == first.rows


def test_other_settings_or_data_begin_a_search_of_their_own(faked, train, val, tmp_path):
    """And leave the old one as it is."""
    first = faked(lambda trial: trial / 10)
    content = first.path.read_bytes()
    for changes in ({"epochs": 3}, {"tuner": "bayesian"}):
        other = faked(lambda trial: 0.5, **changes)
        assert other.path != first.path
        assert {row["val_accuracy"] for row in other.rows} == {0.5}

    def kept(settings, *data):
        with Journal(tmp_path / "False", settings, data, 3) as journal:
            return bool(journal.results)

    assert kept(config(workers=1), train, val)
    elsewhere = config(workers=3, scheduler="tcp://host:8786")  # where trials run changes no result
    assert kept(elsewhere, train, val)
    assert not kept(config(workers=1), val, train)
    halves = train.images.reshape(-1, 14, 56, 1)  # of the same bytes
    assert not kept(config(workers=1), replace(train, images=halves), val)
    assert first.path.read_bytes() == content


def test_changed_network_begins_a_search_of_its_own(faked, train, val, tmp_path, monkeypatch):
    """Was: "searched before", of a file in a folder of networks/, and of one elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    space = config().space.model_copy(update={"network": "own_networks:mine"})
    seen = set()
    for file in ("networks/deep/net.py", "own_networks.py"):
        for text in ("", "# changed"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
            versions_and_code.cache_clear()
            with Journal(tmp_path, config(space=space), (train, val), 3) as journal:
                seen.add(journal.path)
    versions_and_code.cache_clear()
    assert len(seen) == 4


def test_search_that_has_ended_is_not_run_again(faked, capsys):
    first = faked(lambda trial: trial / 10)
    content = first.path.read_bytes()
    capsys.readouterr()
    again = faked(lambda trial: 1 / 0)
    said = capsys.readouterr().out
    assert (again.winner, again.rows) == (first.winner, first.rows)
    assert "searched before" in said and str(first.path) in said and "3 of 3 trials" in said
    assert first.path.read_bytes() == content


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"kept": 0.2', b'"kept": 0.9'), (b'"trial": 2', b'"trial": 1'), (b', "crc32"', b', "crc"')],
)
def test_changed_line_is_no_result(faked, capsys, old, new):
    """A bit that flipped, or an editor: it still reads as JSON."""
    first = faked(lambda trial: trial / 10)
    lines = first.path.read_bytes().splitlines()
    (at,) = (i for i, line in enumerate(lines) if b'"trial": 2' in line)
    assert old in lines[at]
    lines[at] = lines[at].replace(old, new)
    first.path.write_bytes(b"\n".join(lines))
    capsys.readouterr()
    assert faked(lambda trial: 2 / 10).rows == first.rows
    said = capsys.readouterr().out
    assert "1 of its lines can't be read" in said
    assert re.findall(r"^trial (\d)/.*network", said, re.MULTILINE) == ["2"]


def test_two_at_once_search_once(faked, tmp_path, train, val, monkeypatch):
    """The second waits for the first, and takes its result."""
    first = faked(lambda trial: trial / 10)
    # not capsys, which loses what another thread prints while it is read
    monkeypatch.setattr(sys, "stdout", said := io.StringIO())
    with Journal(tmp_path / "False", config(workers=1), (train, val), TRIALS):
        second = threading.Thread(target=lambda: results.append(faked(lambda trial: 1 / 0)))
        results = []
        second.start()
        while "this search is running already; waiting for its end" not in said.getvalue():
            time.sleep(0.01)
        assert not results
    second.join(timeout=30)
    assert [result.rows for result in results] == [first.rows]


def test_searches_are_listed_and_removed(faked, tmp_path):
    with pytest.raises(K49Error):
        faked(breaks_at(3, MemoryError()))
    (tmp_path / "data").mkdir()
    folder = (tmp_path / "False").rename(tmp_path / "data/search")
    (journal,) = folder.glob("*.jsonl")
    faked(lambda trial: 0.5, epochs=3).path.rename(folder / "another.jsonl")

    def trials(*arguments, status=0):
        command = [Path(sys.executable).with_name("k49"), "trials", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    listed = trials()
    assert re.search(rf"{journal.stem} .* random +default +2 of 3 +unfinished +0\.2000", listed)
    assert re.search(r"another .* random +default +3 of 3 +ended +0\.5000", listed)
    rows = trials(journal.stem).splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [["1", "0.1000"], ["2", "0.2000"]]
    assert trials("a third", status=1).count("\n") == 1
    with FileLock(lock_of(journal)):  # as of the search while it runs; was: lost what it had
        assert "is running; stop it first" in trials(journal.stem, "--remove", status=1)
    assert journal.exists()
    assert "removed 1" in trials(journal.stem, "--remove")
    for i in range(21):
        shutil.copy(folder / "another.jsonl", folder / f"copy{i}.jsonl")
    assert "removed 2" in trials("--prune")
    assert "needs the name of a search" in trials("--remove", status=1)  # was: removed all
    assert len(list(folder.glob("*.jsonl"))) == 20
