"""How a stage runs: params.yaml in, the files between stages, one line out.

The only module that knows of DVC, beside the command; all else takes typed settings and paths.
"""

import csv
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from k49.data import Dataset
from k49.errors import K49Error
from k49.files import read_json, read_npy, read_yaml, write_json, write_npy
from k49.settings import Hyperparameters, Settings, validate

PARAMS = Path("params.yaml")

RAW = Path("data/raw")
DOWNLOADS = Path("data/downloads")  # no DVC output: DVC would empty it, and nothing could resume
SPLIT = Path("data/split")
SEARCH = Path("data/search")  # unfinished searches; the same holds
HYPERPARAMETERS = Path("models/hyperparameters.yaml")
MODEL = Path("models/mlp.keras")
PREDICTIONS = Path("predictions/test.npz")
VARIATIONS = Path("predictions/variations.npy")  # of two train images, for a picture
METRICS = Path("metrics")
PLOTS = Path("plots")
LIVE = Path("plots/live")


def load_settings(path: Path = PARAMS) -> Settings:
    """Read and validate all of params.yaml.

    Raises:
        K49Error: the file is missing or no YAML, or a key is missing, unknown or out of range.
    """
    return validate(Settings, read_yaml(path), str(path))


def load_hyperparameters(path: Path = HYPERPARAMETERS) -> Hyperparameters:
    """Read and validate what the search found.

    Raises:
        K49Error: as `load_settings`.
    """
    return validate(Hyperparameters, read_yaml(path), str(path))


def run_stage(main: Callable[[Settings], None]) -> None:
    """Run a stage: settings first, then `main`, then one line with time and memory.

    A K49Error ends in one line and exit status 1, Ctrl-C in exit status 130.
    """
    name = Path(sys.argv[0]).stem
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops as Ctrl-C does
    start = time.perf_counter()
    try:
        main(load_settings())
    except K49Error as error:
        sys.exit(f"error in {name}: {error}")
    except OSError as error:
        sys.exit(f"error in {name}: {error.filename or 'system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print(f"{name}: stopped; `dvc repro` runs what is left", file=sys.stderr)
        sys.exit(130)
    seconds = time.perf_counter() - start
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts in bytes, Linux in KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(f"{name}: {seconds:.1f} s, peak memory {peak:.0f} MiB")


def save_dataset(name: str, dataset: Dataset) -> None:
    """Write a split ("train", "val" or "test") as arrays that can be memory-mapped."""
    write_npy(SPLIT / f"{name}_images.npy", dataset.images)
    write_npy(SPLIT / f"{name}_labels.npy", dataset.labels)


def load_dataset(name: str) -> Dataset:
    """Memory-map a split that `save_dataset` wrote."""
    return Dataset(read_npy(SPLIT / f"{name}_images.npy"), read_npy(SPLIT / f"{name}_labels.npy"))


def read_dataset_name() -> str:
    """What figures on the data in `data/split` are called."""
    return read_json(METRICS / "data.json")["dataset"]


def publish(path: Path, content: dict | list[dict]) -> None:
    """Write metrics or the rows of a plot as JSON for git, with the name of the data in each."""
    named = {"dataset": read_dataset_name()}
    if isinstance(content, dict):
        write_json(path, {**named, **content})
    else:
        write_json(path, [{**named, **row} for row in content])


@contextmanager
def live_log(epochs: int) -> Iterator[Callable[[dict], None]]:
    """Give a function that takes one epoch's figures: it logs them, and prints a line.

    They go through DVCLive into `plots/live`, where the VS Code extension and `dvc exp show` follow
    them while training runs. The line says how far, how good, how long still.
    """
    from dvclive import Live  # imports much of DVC: only where it is needed

    start = time.perf_counter()
    with Live(str(LIVE), dvcyaml=None, save_dvc_exp=False, report=None) as live:

        def log(figures: dict) -> None:
            for name, value in figures.items():
                live.log_metric(name, value)
            live.next_step()
            seconds = (time.perf_counter() - start) / live.step
            print(
                f"epoch {live.step}/{epochs}",
                *(f"{name} {value:.4f}" for name, value in figures.items()),
                f"{seconds:.2f} s an epoch, {seconds * (epochs - live.step):.0f} s left at most",
                sep="  ",
                flush=True,
            )

        yield log


def read_history() -> dict[str, list[float]]:
    """What `live_log` logged: for each figure a value an epoch."""
    history = {}
    for path in sorted((LIVE / "plots" / "metrics").glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        history[path.stem] = [float(row[path.stem]) for row in rows]
    return history
