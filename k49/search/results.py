"""Results of trials, by content: a small JSON file for each trial that was trained to its end.

The name of a file is a hash of all that determines the result: settings of the training, data,
versions and code. So a search that was interrupted continues, a search for more trials trains the
new ones alone, and searches share the trials that they have in common. `atomic_write` makes each
file whole or absent. While a trial is trained, its search holds a lock next to the file: another
search trains other trials meanwhile, and takes this result when it is there.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from platform import python_version
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from k49.data import Dataset
from k49.errors import K49Error
from k49.io import hash_of, parse_json, read_bytes, write_json
from k49.settings import Hyperparameters, TrainingConfig

MOST_BYTES = 1 << 20  # of a file: 10,000 epochs have 200 KB
LIBRARIES = ("k49", "keras", "keras-tuner", "numpy", "scikit-learn", "scipy")
TENSORFLOW = ("tensorflow", "tensorflow-cpu")  # one module, two packages: whichever is installed
TRAINING = Path(__file__).parents[1] / "training"
OWN_NETWORKS = Path("networks")  # of the user, where the search or its worker runs


@dataclass(frozen=True)
class Trial:
    number: int  # from 1
    hyperparameters: Hyperparameters
    epochs: int


@dataclass(frozen=True)
class Outcome:
    trial: Trial
    status: Literal["completed", "failed", "untrained"]
    score: float | None  # val_accuracy
    epochs: int
    error: str | None = None

    def row(self, seed: int) -> dict:
        hyperparameters = self.trial.hyperparameters
        return {
            "trial": self.trial.number,
            "status": self.status,
            "val_accuracy": None if self.score is None else round(self.score, 6),
            "epochs": self.epochs,
            "max_epochs": self.trial.epochs,
            "seed": seed,
            "layers": len(hyperparameters.units),
            **hyperparameters.model_dump(),
            "error": self.error,
        }


@dataclass(frozen=True)
class Result:
    """The result of training a trial; the same wherever it ran."""

    curve: list[float]  # val_accuracy after each epoch
    kept: float | None = None  # val_accuracy of the weights that training would keep, at its end
    error: str | None = None  # why there is no end


class StoredResult(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    finished: str  # ISO 8601, UTC
    inputs: dict[str, Any]  # whose hash is the name of the file
    curve: list[float]
    kept: float | None
    error: str | None
    sha256: str  # of the four above: a changed digit is noticed


class Results:
    """The results in a folder that one search may use.

    Args:
        folder: may be new.
        data: train and validation.
        threads: of a trial, which change the last digits of its results.
    """

    def __init__(self, folder: Path, data: Iterable[Dataset], threads: int) -> None:
        self.folder = folder
        self.damaged: set[Path] = set()
        self._inputs = {"data": hash_of_data(data), "threads": threads}
        self._locks: dict[Path, FileLock] = {}  # of the trials that this search trains

    def inputs(self, config: TrainingConfig) -> dict[str, Any]:
        source = network_source(config.hyperparameters.network)
        network = {"network": source} if source else {}
        versions = {**versions_and_code(), **network}
        return {"training": config.model_dump(mode="json"), **self._inputs, "versions": versions}

    def path(self, config: TrainingConfig) -> Path:
        return self.folder / f"{name_of(self.inputs(config))}.json"

    def get(self, path: Path) -> Result | None:
        """Return the result in a file; None if there is none, or the file is damaged."""
        if not path.exists():
            return None
        stored = read_result(path)
        if stored is None:
            self.damaged.add(path)
            return None
        return Result(stored.curve, stored.kept, stored.error)

    def claim(self, path: Path) -> bool:
        """Return whether this search may train a trial: no other search trains it.

        Raises:
            K49Error: the folder can't be written to.
        """
        lock = FileLock(path.with_suffix(".lock"))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            raise K49Error(f"{path}: can't be locked: {error.strerror or error}") from error
        self._locks[path] = lock
        return True

    def release(self, path: Path) -> None:
        """Let other searches train a trial that this one has claimed."""
        lock = self._locks.pop(path)
        Path(lock.lock_file).unlink(missing_ok=True)  # who waits looks for the result first
        lock.release()

    def add(self, path: Path, config: TrainingConfig, result: Result) -> None:
        """Write the result of a trial.

        Raises:
            K49Error: the disk is full, or the folder can't be written to.
        """
        content = {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "inputs": self.inputs(config),
            "curve": result.curve,
            "kept": result.kept,
            "error": result.error,
        }
        write_json(path, {**content, "sha256": digest(content)})
        self.damaged.discard(path)

    def close(self) -> None:
        for path in list(self._locks):
            self.release(path)


def read_result(path: Path) -> StoredResult | None:
    """Read a file; None if it is damaged, or another's."""
    try:
        content = parse_json(read_bytes(path, MOST_BYTES), str(path))
        stored = StoredResult.model_validate(content)
        TrainingConfig.model_validate(stored.inputs["training"])
        body = {key: value for key, value in content.items() if key != "sha256"}
        whole = stored.sha256 == digest(body) and path.stem == name_of(stored.inputs)
    except (K49Error, ValidationError, KeyError, TypeError):
        return None
    return stored if whole else None


def read_results(folder: Path) -> dict[Path, StoredResult]:
    """Return all results in a folder by their files, oldest first, without damaged ones."""
    results = {path: read_result(path) for path in folder.glob("*.json")}
    whole = {path: stored for path, stored in results.items() if stored is not None}
    return dict(sorted(whole.items(), key=lambda item: (item[1].finished, item[0])))


def digest(content: dict[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def name_of(inputs: dict[str, Any]) -> str:
    """Return the first sixteen digits of the hash of a trial's inputs."""
    return digest(inputs)[:16]


def hash_of_data(data: Iterable[Dataset]) -> str:
    """Return sixteen hexadecimal digits of the SHA-256 of images and labels, and their shapes."""
    digest = sha256()
    for dataset in data:
        for array in (dataset.images, dataset.labels):
            digest.update(repr(array.shape).encode())
            digest.update(array.data)
    return digest.hexdigest()[:16]


def installed(*names: str) -> str:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "none"


@cache  # workers that are threads of one process ask one by one
def versions_and_code() -> dict[str, str]:
    """Return the versions of Python and the libraries, and a hash of the code that trains.

    Checkouts of two codes may share a version.
    """
    sources = (*sorted(TRAINING.rglob("*.py")), *sorted(OWN_NETWORKS.rglob("*.py")))
    return {
        "python": python_version(),
        **{name: installed(name) for name in LIBRARIES},
        "tensorflow": installed(*TENSORFLOW),
        "k49/training": hash_of(sources),
    }


def network_source(name: str) -> str:
    """Return a hash of the file of a network that a space names as `package.module:name`.

    "" where there is no such file. `versions_and_code` has the files in the folder `networks`.
    """
    module, _, attribute = name.partition(":")
    try:
        spec = find_spec(module) if attribute else None
    except (ImportError, ValueError):  # which building the network reports
        return ""
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return ""
    return hash_of([Path(spec.origin)])
