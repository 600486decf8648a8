"""The search: resumable, repeatable, and never won by a trial that failed."""

import itertools
import re
import resource
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

from k49.errors import K49Error
from k49.search import progress, workers
from k49.search import search as searching
from k49.search.results import Outcome, Result, Results, Trial, read_results, versions_and_code
from k49.search.search import search, trial_config
from tests.helpers import SMALL_MODEL, environment, slow
from tests.search.small import TRIALS, config


def test_trials_train_as_the_winner_will_and_differ_in_nothing_else():
    """Was: another seed for each, no dropout, and the best epoch's accuracy instead of the kept."""
    recipe = config().fit.model_copy(update={"dropout": 0.3, "schedule": "constant", "patience": 1})
    settings = config(fit=recipe)
    one, other = (
        trial_config(settings, Trial(1, SMALL_MODEL.model_copy(update={"learning_rate": rate}), 9))
        for rate in (0.1, 0.2)
    )
    assert one.fit == other.fit == recipe
    assert one.seed == other.seed == settings.tune.seed
    assert one.epochs == other.epochs == 9, "a trial's own, as hyperband has them"


# trials that fail


@pytest.fixture
def faked(monkeypatch, train, val, tmp_path):
    """A function that searches without training; `accuracy` is of a trial's number, or None."""

    def run(accuracy, folder="results", **changes):
        trials = itertools.count(1)

        def trained(config, threads, data, on_epoch, wanted):
            found = accuracy(next(trials))
            return Result([], error="diverged") if found is None else Result([found], found)

        monkeypatch.setattr(workers, "train_in_own_process", trained)
        return search(config(**{"workers": 1, **changes}), train, val, tmp_path / folder)

    return run


def never(trial):
    raise AssertionError("a trial was trained again")


def numbers_trained(said):
    """The numbers of the trials that a search says it trains."""
    return re.findall(r"^trial (\d+)/.*network", said, re.MULTILINE)


def by_rate(config, threads, data, on_epoch, wanted):
    """Train for a random time, to a curve that the hyperparameters decide."""
    rate, curve = config.hyperparameters.learning_rate, []
    for epoch in range(1, config.epochs + 1):
        time.sleep(float(np.random.default_rng().uniform(0, 0.02)))
        curve.append(1 - 100 * rate / epoch)
        on_epoch(curve[-1])
    return Result(curve, kept=curve[-1])


@pytest.mark.parametrize("tuner", ["random", *slow("hyperband", "bayesian")])
def test_any_number_of_workers_finds_the_same(monkeypatch, train, val, tmp_path, tuner):
    monkeypatch.setattr(workers, "train_in_own_process", by_rate)
    settings = {"tuner": tuner, "trials": 8, "epochs": 9}
    one, three = (
        search(config(workers=n, **settings), train, val, tmp_path / str(n)) for n in (1, 3)
    )
    assert one.rows == three.rows
    assert one.winner == three.winner
    best = max(one.rows, key=lambda row: row["val_accuracy"])
    assert best["status"] == "completed"
    monkeypatch.setattr(workers, "train_in_own_process", never)
    again = search(config(workers=2, **settings), train, val, tmp_path / "3")
    assert again.rows == one.rows, "and from the files"


def test_more_trials_train_the_new_ones_alone(faked, capsys):
    """Was: all of them again."""
    ten = faked(lambda trial: trial / 100, trials=10)
    capsys.readouterr()
    twelve = faked(lambda trial: trial / 10, trials=12)
    said = capsys.readouterr().out
    assert "10 of 12 trials were trained before" in said
    assert numbers_trained(said) == ["11", "12"]
    assert twelve.rows[:10] == ten.rows
    assert [row["val_accuracy"] for row in twelve.rows[10:]] == [0.1, 0.2]
    fewer = faked(never, trials=3)
    assert fewer.rows == ten.rows[:3]


def test_one_trial_is_not_trained_and_the_middle_of_the_space_wins(faked):
    result = faked(never, trials=1)
    assert result.winner.units == [32, 32], "of 1 to 3 layers of 8 to 64 units"
    assert result.winner.learning_rate == pytest.approx((0.004 * 0.009) ** 0.5, rel=1e-5)
    (row,) = result.rows
    assert (row["status"], row["val_accuracy"], row["epochs"]) == ("untrained", None, 0)
    assert result.metrics == {"tune_trials": 0, "tune_completed": 0}
    assert "no search" in str(result)


def test_search_without_a_good_trial_publishes_nothing(faked):
    with pytest.raises(K49Error, match="none of 3 trials was completed") as error:
        faked(lambda trial: None)
    assert "\n" not in str(error.value)
    assert "diverged" in str(error.value)


def test_diverged_trial_is_recorded_and_never_wins(faked):
    result = faked(lambda trial: None if trial == 2 else trial / 10, trials=3)
    assert [row["status"] for row in result.rows] == ["completed", "failed", "completed"]
    assert result.rows[1]["val_accuracy"] is None
    assert "diverged" in result.rows[1]["error"]
    assert result.winner.learning_rate == result.rows[2]["learning_rate"]
    assert result.metrics["tune_completed"] == 2


class FakeWorkers:
    """Two workers, each of whose trials ends at once; `started` are the numbers of weights."""

    started: list

    def __init__(self, tune, data, events):
        self.events, FakeWorkers.started = events, []

    def threads(self):
        return {"a": 1, "b": 1}

    def start(self, attempt, config, worker):
        self.started.append(config.hyperparameters.units)
        self.events.put((attempt, None))
        return SimpleNamespace(result=lambda timeout: Result([0.5], 0.5))

    def close(self):
        """Nothing runs."""


def test_where_several_train_at_once_the_longest_start_first(faked, monkeypatch):
    """Was: a worker had the longest at the end, while the other had nothing left to do."""
    monkeypatch.setattr(searching, "Here", FakeWorkers)
    rows = faked(never, trials=6).rows

    def weights(units):
        widths = [784, *units, 49]
        return sum(a * b for a, b in itertools.pairwise(widths))

    costs = [weights(units) for units in FakeWorkers.started]
    assert costs == sorted((weights(row["units"]) for row in rows), reverse=True)
    assert [row["trial"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [weights(row["units"]) for row in rows] != costs


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
    assert "network=" not in shown, "no lines besides the table"


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
    zero, again, one = (
        faked(lambda trial: 0.5, folder=name, seed=seed)
        for name, seed in (("0", 0), ("again", 0), ("1", 1))
    )
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
    assert numbers_trained(capsys.readouterr().out) == ["2", "3"]
    assert [row["val_accuracy"] for row in result.rows] == [0.1, 0.9, 0.9]


# files of results


def files(tmp_path):
    return sorted((tmp_path / "results").iterdir())


def file_of(tmp_path, accuracy):
    """The file of the trial with that val_accuracy."""
    known = read_results(tmp_path / "results")
    (found,) = (path for path, result in known.items() if result.kept == accuracy)
    return found


DAMAGED = {
    "cut off": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a digit": lambda content: content.replace(b'"kept": 0.2', b'"kept": 0.9'),
    "another key": lambda content: content.replace(b'"kept"', b'"left"'),
    "other settings": lambda content: content.replace(b'"seed": 49', b'"seed": 50'),
    "no JSON": lambda content: b"\x00" * 100,
    "no mapping": lambda content: b"[1]",
}


@pytest.mark.parametrize("change", DAMAGED.values(), ids=DAMAGED)
def test_damaged_result_costs_its_trial_and_no_other(faked, tmp_path, capsys, change):
    """As a power cut, a bit that flipped, or an editor leaves it."""
    first = faked(lambda trial: trial / 10)
    path = file_of(tmp_path, 0.2)
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    assert path.read_bytes() != whole
    assert path not in read_results(path.parent)
    capsys.readouterr()
    assert faked(lambda trial: 2 / 10).rows == first.rows
    said = capsys.readouterr().out
    assert f"1 files in {path.parent} are damaged, as {path}; their trials run again" in said
    assert numbers_trained(said) == ["2"]
    assert faked(never).rows == first.rows


def test_result_under_another_name_is_none(faked, tmp_path):
    first = faked(lambda trial: trial / 10)
    one, two = (file_of(tmp_path, accuracy) for accuracy in (0.1, 0.2))
    one.write_bytes(two.read_bytes())
    assert faked(lambda trial: 1 / 10).rows == first.rows


@contextmanager
def no_file_above(size):
    """As on a disk with so little room: writes end in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_told_and_costs_no_finished_trial(faked, tmp_path, monkeypatch):
    """Was: half a file, which no later run could read."""
    monkeypatch.setattr(progress.Progress, "say", lambda self, line: None)  # else into a file
    with no_file_above(100), pytest.raises(K49Error, match=r"trial 1/3: .* not written") as error:
        faked(lambda trial: trial / 10)
    assert "finished trials are kept" in str(error.value)
    assert not files(tmp_path)
    first = faked(lambda trial: trial / 10)
    assert len(files(tmp_path)) == TRIALS, "a file for each trial, and no lock"
    file_of(tmp_path, 0.3).unlink()
    with no_file_above(100), pytest.raises(K49Error, match="trial 3/3"):
        faked(lambda trial: 3 / 10)
    assert faked(lambda trial: 3 / 10).rows == first.rows


def test_other_settings_data_or_threads_have_results_of_their_own(faked, train, val, tmp_path):
    """And leave the old ones as they are."""
    faked(lambda trial: trial / 10)
    before = {path: path.read_bytes() for path in files(tmp_path)}
    for changes in ({"epochs": 3}, {"seed": 50}, {"threads": 2}):
        rows = faked(lambda trial: 0.5, **changes).rows
        assert {row["val_accuracy"] for row in rows} == {0.5}
    assert faked(never, workers=3).rows, "where trials run changes no result"
    assert all(path.read_bytes() == content for path, content in before.items())

    settings = trial_config(config(), Trial(1, SMALL_MODEL, 1))

    def name(train, val):
        return Results(tmp_path, (train, val), 1).path(settings).name

    other = train.images.copy()
    other[0, 0, 0, 0] ^= 1  # one bit of one pixel
    halves = train.images.reshape(-1, 14, 56, 1)  # of the same bytes
    datasets = [train, replace(train, images=other), replace(train, images=halves)]
    assert len({name(val, train), *(name(each, val) for each in datasets)}) == 4


def test_changed_network_is_trained_again(train, val, tmp_path, monkeypatch):
    """Was: taken from before, of a file in a folder of networks/, and of one elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    own = SMALL_MODEL.model_copy(update={"network": "own_networks:mine"})
    seen = set()
    for file in ("networks/deep/net.py", "own_networks.py"):
        for text in ("", "# changed"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
            versions_and_code.cache_clear()
            settings = trial_config(config(), Trial(1, own, 1))
            seen.add(Results(tmp_path, (train, val), 1).path(settings))
    versions_and_code.cache_clear()
    assert len(seen) == 4


# two at once


def test_two_searches_at_once_share_the_trials(monkeypatch, train, val, tmp_path):
    """In the same folder, as two runs with `--temp` or from the queue are."""
    trained, together = [], threading.Barrier(2, timeout=30)

    def train_slowly(config, threads, data, on_epoch, wanted):
        trained.append(config.hyperparameters.learning_rate)
        if len(trained) <= 2:
            together.wait()  # both searches train
        time.sleep(0.1)
        return Result([0.5], config.hyperparameters.learning_rate)

    monkeypatch.setattr(workers, "train_in_own_process", train_slowly)
    found = []

    def one_search():
        found.append(search(config(workers=1, trials=7), train, val, tmp_path / "results"))

    threads = [threading.Thread(target=one_search) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(timeout=60)
    assert found[0].rows == found[1].rows
    assert len(trained) == len(set(trained)) == 7, "none of them twice"
    assert len(files(tmp_path)) == 7


def test_trial_of_another_search_is_waited_for(faked, tmp_path, capsys):
    """Or trained here, if the other search is killed."""
    first = faked(lambda trial: trial / 10)
    path = file_of(tmp_path, 0.2)
    path.unlink()
    held = FileLock(path.with_suffix(".lock"), thread_local=False)
    held.acquire()
    capsys.readouterr()
    threading.Timer(0.6, held.release).start()
    assert faked(lambda trial: 2 / 10).rows == first.rows
    said = capsys.readouterr().out
    assert said.count("trial 2/3 is trained by another search already") == 1
    assert numbers_trained(said) == ["2"]


def test_trials_are_listed_and_removed(faked, tmp_path):
    faked(lambda trial: None if trial == 3 else trial / 10)
    (tmp_path / "data").mkdir()
    folder = (tmp_path / "results").rename(tmp_path / "data/search")

    def trials(*arguments, status=0):
        command, env = ["k49", "trials", *arguments], environment(tmp_path)
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    listed = trials()
    (folder / "damaged.json").write_text("{}")
    (folder / "old.jsonl").write_text("of before")
    assert trials() == listed
    assert re.search(r" hog +2 +\[.*\] relu he_uniform 0\.00\d+ +0\.2000 *\n", listed)
    assert re.search(r" hog .* diverged *\n", listed)
    names = [line.split()[0] for line in listed.splitlines()[1:]]
    assert sorted(names) == sorted(path.stem for path in read_results(folder))
    assert trials(names[0][:9]).count("\n") == 2
    assert trials("a third", status=1).count("\n") == 1
    assert "needs the name of one trial" in trials("--remove", status=1)
    assert "removed 1 of 3" in trials(names[0], "--remove")
    assert not (folder / f"{names[0]}.json").exists()
    assert "removed 0 of 2" in trials("--prune")
