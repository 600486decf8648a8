"""How long a search takes: ours beside a plain Keras Tuner script that tries the same trials.

    .venv-bench/bin/python -m benchmarks.search [--scale 0.25] [--rounds 1]

The report's space, ten trials of ten epochs each, on the stand-in. Writes benchmarks/search.json
and .md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.epoch import ROOT, draw, environment, machine, publish

WAYS = {"ours": "this project", "plain": "a plain Keras Tuner script: one process, float32 arrays"}


def main() -> None:
    """Both searches, each in a process of its own, round after round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=0.25, help="of the stand-in")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, help="run this one here, in the folder at hand")
    options = parser.parse_args()
    if options.way:
        search_here(options.way)
        return

    with TemporaryDirectory() as scratch:
        data = Path(scratch, "data")
        images = draw(data, options.scale)
        rows = []
        for number in range(1, options.rounds + 1):
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.search", "--way", way]
                done = subprocess.run(
                    command, cwd=data, env=environment(ROOT), stdout=subprocess.PIPE, check=True
                )
                result = json.loads(done.stdout.splitlines()[-1])
                rows.append({"way": way, "round": number, "images": images, **result})
                print(rows[-1], flush=True)
    publish("search", rows, table(rows))


def search_here(way: str) -> None:
    """Search, and print the seconds and each trial's val_accuracy."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    start = time.perf_counter()
    accuracies = {"ours": ours, "plain": plain}[way](Path.cwd())
    result = {"seconds": time.perf_counter() - start, "val_accuracy": accuracies}
    print(json.dumps(result))


def report_search() -> object:
    """The search of the report's recipe."""
    from benchmarks.ways import settings_of
    from k49.search.search import search_config
    from k49.settings import Settings, validate

    return search_config(validate(Settings, settings_of("report"), "report"))


def ours(folder: Path) -> list[float]:
    """The pipeline's own search."""
    from k49.process import start_server

    start_server("k49.training.fit")
    from k49.search.search import search
    from k49.stage import load_dataset

    result = search(report_search(), load_dataset("train"), load_dataset("val"), folder / "scratch")
    result.journal.discard()
    return [row["val_accuracy"] for row in result.rows]


def plain(folder: Path) -> list[float]:
    """As in a notebook; the hypermodel asks for the same hyperparameters, and so gets them."""
    import keras
    import keras_tuner
    from keras import layers

    from benchmarks.ways import load
    from k49.search.space import choose

    config = report_search()

    def build(hp: keras_tuner.HyperParameters) -> keras.Model:
        found = choose(hp, config.space)
        model = keras.Sequential([keras.Input((784,))])
        for units in found.units:
            dense = layers.Dense(units, found.activation, kernel_initializer=found.initializer)
            model.add(dense)
            model.add(layers.Dropout(config.fit.dropout))
        model.add(layers.Dense(49, "softmax"))
        optimizer = keras.optimizers.Adam(found.learning_rate)
        model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
        return model

    tuner = keras_tuner.RandomSearch(
        build,
        objective="val_accuracy",
        max_trials=config.tune.trials,
        seed=config.tune.seed + 1,
        directory=folder,
        project_name="plain",
        overwrite=True,
    )
    tuner.search(
        *load(folder, np.float32),
        validation_data=load(folder, np.float32, "val"),
        epochs=config.tune.epochs,
        batch_size=config.fit.batch_size,
        verbose=0,
    )
    trials = sorted(tuner.oracle.trials.values(), key=lambda trial: trial.trial_id)
    return [trial.score for trial in trials]


def table(rows: list[dict]) -> str:
    """Both in Markdown."""
    median = {way: np.median([row["seconds"] for row in rows if row["way"] == way]) for way in WAYS}
    lines = [
        "# A search",
        "",
        f"Ten trials of ten epochs in the report's space, {rows[0]['images']:,} images of the "
        f"stand-in (drawn, not K49), {max(row['round'] for row in rows)} round(s), by "
        "`python -m benchmarks.search`.",
        "",
        machine(),
        "",
        "| way | seconds | ours / this | val_accuracy of each trial |",
        "|---|---|---|---|",
    ]
    for way, name in WAYS.items():
        scores = next(row["val_accuracy"] for row in rows if row["way"] == way)
        shown = " ".join(f"{score:.3f}" for score in scores)
        lines.append(
            f"| {name} | {median[way]:.0f} | {median['ours'] / median[way]:.2f} | {shown} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
