"""How a stage runs: params.yaml, the files between stages, and the line at the end.

Only this module, `revisions.py` and the command know of DVC; all others take settings and paths.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from k49 import progress
from k49.data import Dataset, Subset
from k49.errors import K49Error, status_of
from k49.io import read_json, read_npy, read_yaml, write_json, write_npy
from k49.process import leave
from k49.settings import DatasetInfo, Hyperparameters, Settings, validate
from k49.text import in_script

PARAMS = Path("params.yaml")

CHECKED = Path("data/checked.txt")  # the same whatever the settings: no stage becomes stale
RAW = Path("data/raw")
DESCRIPTIONS = Path("datasets")  # of the user's own datasets
DOWNLOADS = Path("data/downloads")  # no DVC output: DVC would empty it, and nothing could resume
SPLIT = Path("data/split")
SEARCH = Path("data/search")  # results of trials; the same holds
HYPERPARAMETERS = Path("models/hyperparameters.yaml")
TRAINED = Path("models/trained.keras")
MODEL = Path("models/model.keras")
ONNX = Path("models/model.onnx")
PAGE = Path("models/reader.html")
PREDICTIONS = Path("predictions/test.npz")
CLASSES = {name: Path(f"predictions/{name}_classes.npz") for name in ("val", "test")}  # for git
VARIATIONS = Path("predictions/variations.npy")  # of two train images, for a picture
CARD = Path("MODEL_CARD.md")
METRICS = Path("metrics")
PLOTS = Path("plots")
CURVES = Path("plots/curves.json")
TRACKED = (PARAMS, Path("dvc.lock"), CARD, HYPERPARAMETERS, *CLASSES.values())  # and folders
TO_LOWER = (
    "lower fit.batch_size, tune.workers, standin.scale, or layers.max and units.max of the space"
)
# keys of `DatasetInfo`
OF_RESULTS = ("classes", "image_size", "normalize", "ink_extent", "invert", "white")


def load_settings(path: Path = PARAMS) -> Settings:
    """Read and validate all of params.yaml.

    Raises:
        K49Error: the file is missing or no YAML, or a key is missing, unknown or out of range.
    """
    return validate(Settings, read_yaml(path), str(path))


def load_hyperparameters(path: Path = HYPERPARAMETERS) -> Hyperparameters:
    """Read and validate the winner of the search.

    Raises:
        K49Error: as `load_settings`.
    """
    return validate(Hyperparameters, read_yaml(path), str(path))


def search_folder() -> Path:
    """Return the folder of results of trials: the repository's own, for a copy of it, too.

    DVC makes copies for `dvc exp run --temp` and for its queue, in .dvc/tmp/exps, and removes them.
    """
    for folder in Path.cwd().parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2] / SEARCH
    return SEARCH


def touch_tracked_files() -> None:
    """Let git look at params.yaml and at the outputs that it tracks, the next time it is asked.

    DVC checks files out and writes params.yaml within one second. Git compares a file's size and
    the whole seconds of its time alone, and would call a changed file of the same size unchanged.
    """
    for path in (*TRACKED, *METRICS.glob("*"), *PLOTS.glob("*")):
        with suppress(OSError):
            seen, now = path.stat().st_mtime, time.time()
            time_of = now if int(now) != int(seen) else seen + 1
            os.utime(path, (time_of, time_of))


def run_stage(main: Callable[[Settings], None]) -> NoReturn:
    """Run a stage: settings first, then `main`, then one line that says where time and memory went.

    Any error ends in one line, too: exit status 1, after Ctrl-C and `kill` 130.
    """
    name = Path(sys.argv[0]).stem
    start = time.perf_counter()

    def body() -> None:
        main(load_settings())
        print(f"{name}: {progress.summary(time.perf_counter() - start)}", flush=True)

    stopped = f"{name}: stopped; `dvc repro` runs the rest"
    leave(status_of(f"error in {name}", body, TO_LOWER, stopped))


def save_split(name: str, subset: Subset) -> None:
    """Write a split ("train", "val" or "test") as arrays that can be memory-mapped."""
    n = len(subset)
    write_npy(SPLIT / f"{name}_images.npy", (n, *subset.images.shape[1:]), subset.image_chunks())
    write_npy(SPLIT / f"{name}_labels.npy", (n, subset.classes), subset.label_chunks())


def load_dataset(name: str) -> Dataset:
    """Memory-map a split that `save_split` wrote."""
    return Dataset(read_npy(SPLIT / f"{name}_images.npy"), read_npy(SPLIT / f"{name}_labels.npy"))


def save_info(info: DatasetInfo, counts: dict) -> None:
    """Write the description of the dataset in `data/split`, and how many images it has.

    Keys that results depend on go next to the images; all others into `metrics/data.json`, on
    which no training depends: data of another name are the same data.
    """
    known = info.model_dump()
    write_json(SPLIT / "dataset.json", {key: known.pop(key) for key in OF_RESULTS})
    name = known.pop("name")
    write_json(METRICS / "data.json", {"dataset": name, **known, **counts})


def load_info() -> DatasetInfo:
    """Read what `save_info` wrote.

    Raises:
        K49Error: it is something else.
    """
    path = METRICS / "data.json"
    known = read_json(path, "dataset")
    content = {key: known.get(key) for key in DatasetInfo.model_fields if key not in OF_RESULTS}
    content |= {"name": known["dataset"], **read_json(SPLIT / "dataset.json", *OF_RESULTS)}
    return validate(DatasetInfo, content, str(path))


def read_dataset_name() -> str:
    return read_json(METRICS / "data.json", "dataset")["dataset"]


def count_train_images() -> int | None:
    """Return how many train images the last split had; None before the first."""
    try:
        return int(read_json(METRICS / "data.json", "images")["images"]["train"])
    except (K49Error, KeyError, TypeError, ValueError):
        return None


def publish(path: Path, content: dict | list[dict]) -> None:
    """Write metrics or the rows of a plot as JSON for git, with the name of the data in them.

    In metrics under a key of its own for each file, `test_data` in test.json: `dvc exp show` puts
    a file's name before every key that two files share.
    """
    name = read_dataset_name()
    if isinstance(content, dict):
        write_json(path, {f"{path.stem}_data": name, **content})
    else:
        rows = [{"dataset": name, **row} for row in content]
        write_json(path, [{k: in_script(v) for k, v in row.items()} for row in rows])


def live_log(epochs: int) -> Callable[[dict[str, float]], None]:
    """Return a function that takes an epoch's figures, prints a line and writes the curves so far.

    The line says how far, how good, how long still. The curves are plot data, which `dvc plots
    show` and the VS Code extension draw while training runs; epochs count from 1.
    """
    start = time.perf_counter()
    curves: list[dict] = []

    def log(figures: dict[str, float]) -> None:
        epoch = len(curves) // 2 + 1
        for split, prefix in (("train", ""), ("validation", "val_")):
            values = {name: round(figures[prefix + name], 6) for name in ("loss", "accuracy")}
            curves.append({"epoch": epoch, "split": split, **values})
        publish(CURVES, curves)
        seconds = (time.perf_counter() - start) / epoch
        print(
            f"epoch {epoch}/{epochs}",
            *(f"{name} {value:.4f}" for name, value in figures.items()),
            f"{seconds:.2f} s an epoch, {seconds * (epochs - epoch):.0f} s left at most",
            sep="  ",
            flush=True,
        )

    return log
