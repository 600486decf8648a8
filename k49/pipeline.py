"""Where the library meets DVC: params.yaml, the files between stages, how a stage runs and logs.

The only module that knows of DVC; everything else takes typed settings and paths.
"""

import csv
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from k49.errors import K49Error
from k49.files import read_json, read_npy, whole
from k49.settings import Settings

Model = TypeVar("Model", bound=BaseModel)

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


def read_yaml(path: Path) -> Any:
    """The content of a YAML 1.2 file, where `1e-5` is a number and a key stands only once."""
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise K49Error(f"{path}: cannot be read: {error.strerror}") from error
    except (YAMLError, ValueError, LookupError, RecursionError) as error:
        raise K49Error(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def write_yaml(path: Path, content: dict) -> None:
    """Write a mapping as block-style YAML, as DVC does."""
    yaml = YAML()
    yaml.default_flow_style = False
    with whole(path) as beside, beside.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)


def validate(model: type[Model], content: Any, where: str) -> Model:
    """`content` as `model`; K49Error with every fault in one line if it doesn't fit."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(describe(model, fault) for fault in error.errors())
        raise K49Error(f"{where}: {faults}") from error


def describe(model: type[BaseModel], fault: dict) -> str:
    """One fault as `train.epochs: should be greater than or equal to 1, is 0`."""
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key, known here: {', '.join(siblings(model, fault['loc']))}"
    if fault["type"] == "missing":
        return f"{key}: missing"
    message = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{key or 'top level'}: {message}, is {fault['input']!r:.80}"


def siblings(model: type[BaseModel], loc: tuple) -> list[str]:
    """The keys allowed where `loc` points."""
    for key in loc[:-1]:
        kind = model.model_fields[key].annotation
        model = next(part for part in (*get_args(kind), kind) if hasattr(part, "model_fields"))
    return list(model.model_fields)


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


@contextmanager
def live_log() -> Iterator[Callable[[dict], None]]:
    """Give a function that logs one epoch's figures through DVCLive, into `plots/live`.

    The VS Code extension and `dvc exp show` follow them while training runs.
    """
    from dvclive import Live  # imports much of DVC: only where it is needed

    with Live(str(LIVE), dvcyaml=None, save_dvc_exp=False, report=None) as live:

        def log(figures: dict) -> None:
            for name, value in figures.items():
                live.log_metric(name, value)
            live.next_step()

        yield log


def read_history() -> dict[str, list[float]]:
    """What `live_log` logged: for each figure a value an epoch."""
    history = {}
    for path in sorted((LIVE / "plots" / "metrics").glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        history[path.stem] = [float(row[path.stem]) for row in rows]
    return history


def load_part(part: str, folder: Path = SPLIT) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28, 1) and one-hot labels (N, 49) of a part, memory-mapped, both uint8."""
    return read_npy(folder / f"{part}_images.npy"), read_npy(folder / f"{part}_labels.npy")


def dataset_name() -> str:
    """What figures on the data in `data/split` are called."""
    return read_json(METRICS / "data.json")["dataset"]
