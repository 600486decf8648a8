"""How long a search takes: with all workers, with one, and as a plain Keras Tuner script.

    python -m benchmarks.search [--scale 0.25] [--rounds 1]

The report's search, and the default one, on the stand-in; the plain script tries the same trials
as the report's. Writes benchmarks/search.json and .md.
"""

import argparse
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.epoch import draw, last_line, machine, publish
from benchmarks.ways import search_of
from k49.settings import SearchConfig

WAYS = {
    "ours": "this project, a worker for each processor",
    "one": "this project, one worker",
    "plain": "a plain Keras Tuner script: one process, float32 arrays",
}
RUNS = [*(("report", way) for way in WAYS), ("default", "ours"), ("default", "one")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=0.25, help="of the stand-in")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--run", nargs=2, help="recipe and way: this one, in the folder at hand")
    options = parser.parse_args()
    if options.run:
        search_here(*options.run)
        return

    with TemporaryDirectory() as scratch:
        data = Path(scratch, "data")
        images = draw(data, options.scale)
        rows = []
        for number in range(1, options.rounds + 1):
            for recipe, way in RUNS:
                result = last_line(["benchmarks.search", "--run", recipe, way], data)
                about = {"recipe": recipe, "way": way, "round": number, "images": images}
                rows.append({**about, **result})
                print(rows[-1], flush=True)
    publish("search", rows, table(rows))


def search_here(recipe: str, way: str) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    start = time.perf_counter()
    config = search_of(recipe, workers=1 if way == "one" else None)
    accuracies = plain(Path.cwd(), config) if way == "plain" else ours(config)
    print(json.dumps({"seconds": time.perf_counter() - start, "val_accuracy": accuracies}))


def ours(config: SearchConfig) -> list[float]:
    from k49.process import start_server

    start_server("k49.training.fit")
    from k49.search.search import search
    from k49.stage import load_dataset

    with TemporaryDirectory() as scratch:  # where no result of an earlier round is
        result = search(config, load_dataset("train"), load_dataset("val"), Path(scratch))
    return [row["val_accuracy"] for row in result.rows]


def plain(folder: Path, config: SearchConfig) -> list[float]:
    """As in a notebook; the hypermodel asks for the same hyperparameters, and so gets them."""
    import keras
    import keras_tuner
    from keras import layers

    from benchmarks.ways import load
    from k49.search.tuner import choose

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
    seconds = {
        run: np.median([row["seconds"] for row in rows if (row["recipe"], row["way"]) == run])
        for run in RUNS
    }
    lines = [
        "# A search",
        "",
        "The searches of the recipes report and default (distorted), "
        f"{rows[0]['images']:,} images of the stand-in (drawn, not K49), "
        f"{max(row['round'] for row in rows)} round(s), by `python -m benchmarks.search`.",
        "",
        machine(),
        "",
        "| recipe | way | seconds | ours / this | val_accuracy of each trial |",
        "|---|---|---|---|---|",
    ]
    for recipe, way in RUNS:
        scores = next(r["val_accuracy"] for r in rows if (r["recipe"], r["way"]) == (recipe, way))
        shown = " ".join(f"{score:.3f}" for score in scores)
        ratio = seconds[recipe, "ours"] / seconds[recipe, way]
        lines.append(
            f"| {recipe} | {WAYS[way]} | {seconds[recipe, way]:.0f} | {ratio:.2f} | {shown} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
