"""Which of Keras Tuner's oracles finds the better validation accuracy in the same time?

    python -m benchmarks.oracles FOLDER [--epochs 20] [--seeds 1 2 3 4 5 6]

FOLDER holds data/split and a params.yaml, as the pipeline leaves them. Each seed searches the
report's space: hyperband to its end, then random for as long as that took, then bayesian as long,
with as many trials as random had time for. Writes benchmarks/oracles.json and .md.
"""

import argparse
import json
import signal
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy import stats

from benchmarks.epoch import last_line, machine, publish
from k49.outside import read_json

TUNERS = ("hyperband", "random", "bayesian")
MANY = 200  # trials, more than there is time for


def main() -> None:
    """Each seed and oracle in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[*range(1, 7)])
    parser.add_argument("--run", nargs=4, help="oracle, seed, trials, seconds: this one, here")
    options = parser.parse_args()
    if options.run:
        tuner, seed, trials, seconds = options.run
        tune = {"tuner": tuner, "seed": int(seed), "trials": int(trials)}
        print(json.dumps(searched({**tune, "epochs": options.epochs}, float(seconds))))
        return

    rows = []
    for seed in options.seeds:
        seconds, trials = 0.0, MANY  # no limits
        for tuner in TUNERS:
            limits = map(str, (tuner, seed, trials, seconds))
            command = ["benchmarks.oracles", ".", "--epochs", str(options.epochs), "--run", *limits]
            rows.append({"seed": seed, "tuner": tuner, **last_line(command, options.folder)})
            seconds = seconds or rows[-1]["seconds"]
            trials = rows[-1]["trials"] if tuner == "random" else trials
            print(rows[-1], flush=True)
    name = read_json(options.folder / "metrics/data.json")["dataset"]
    publish("oracles", rows, table(rows, name, options.epochs))


def searched(tune: dict, seconds: float) -> dict:
    """Search for so many seconds, 0 for no limit: how many trials, the best one's val_accuracy."""
    from benchmarks.ways import search_of
    from k49.process import start_server

    start_server("k49.training.fit")
    from k49.search.kept import kept_searches
    from k49.search.search import search
    from k49.stage import load_dataset

    config = search_of("report", **tune)
    train, val = load_dataset("train"), load_dataset("val")
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    start = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    with TemporaryDirectory() as scratch:
        with suppress(KeyboardInterrupt):
            search(config, train, val, Path(scratch))
        taken = time.perf_counter() - start
        signal.setitimer(signal.ITIMER_REAL, 0)
        (found,) = kept_searches(Path(scratch))
    return {"seconds": taken, "trials": len(found.trials), "val_accuracy": found.best}


def table(rows: list[dict], name: str, epochs: int) -> str:
    """In Markdown."""
    lines = [
        "# Oracles",
        "",
        f"The report's space on {name}; hyperband to its end at {epochs} epochs at most, the "
        f"others for as long as it took, with trials of {epochs} epochs, bayesian with as many as "
        "random had time for, by `python -m benchmarks.oracles`.",
        "",
        machine(),
        "",
        "| oracle | best val_accuracy, a seed each | mean | minus random's, 95 % interval "
        "| trials | seconds |",
        "|---|---|---|---|---|---|",
    ]
    of_random = [row["val_accuracy"] for row in rows if row["tuner"] == "random"]
    for tuner in TUNERS:
        own = [row for row in rows if row["tuner"] == tuner]
        best, trials, seconds = (
            [row[key] for row in own] for key in ("val_accuracy", "trials", "seconds")
        )
        lines.append(
            f"| {tuner} | {' '.join(f'{each:.4f}' for each in best)} | {np.mean(best):.4f} | "
            f"{'-' if tuner == 'random' else minus(best, of_random)} | "
            f"{' '.join(map(str, trials))} | {' '.join(f'{each:.0f}' for each in seconds)} |"
        )
    return "\n".join(lines) + "\n"


def minus(ours: list[float], theirs: list[float]) -> str:
    """The mean difference over the seeds, and its interval by the paired t-test."""
    low, high = stats.ttest_rel(ours, theirs).confidence_interval()
    return f"{np.mean(ours) - np.mean(theirs):+.4f} ({low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    main()
