"""A model file: Keras' archive of the network, and what k49 adds to it.

`models/trained.keras`, of stage train, says how it was trained. `models/model.keras`, of stage
calibrate, also has its data, calibration and detector. A file may be anybody's: it is opened and
bounded here, before Keras sees it.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from k49.errors import K49Error
from k49.io import atomic_write, parse_json
from k49.settings import DatasetInfo, Detector, Provenance, TrainingConfig, validate

MOST_BYTES = 2 << 30  # of all parts, unpacked: 20 layers of 4,096 units are 1.3 GB
MOST_CONFIG = 1 << 24  # of the network's description
MOST_PART = 1 << 20  # of a part that k49 adds
CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # Keras' parts
TRAINING, PROVENANCE, DETECTOR = "training.json", "k49.json", "detector.json"  # k49's
# In an ONNX file: the input, the outputs, and keys of the metadata
IMAGE, PROBABILITIES, SCORE = "image", "probabilities", "outlier_score"
ONNX_PROVENANCE = "provenance"  # of the Keras file, as JSON
PREPARATION = "preparation"  # hash of the code that makes images of pictures
AVERAGED = "averaged"  # whether the graph averages over shifts
SOURCE = "model_md5"  # of the Keras file, as in dvc.lock
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time stamp that a zip archive can carry
UNREADABLE = (  # what zipfile and zlib raise for archives that are damaged or encrypted
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    OverflowError,
)


def trained_parts(config: TrainingConfig) -> dict[str, bytes]:
    """Return k49's parts of the model file of stage train, by name."""
    return {TRAINING: config.model_dump_json(indent=1).encode()}


def calibrated_parts(provenance: Provenance, detector: Detector) -> dict[str, bytes]:
    """Return k49's parts of the model file of stage calibrate, by name."""
    return {
        PROVENANCE: provenance.model_dump_json(indent=1).encode(),
        DETECTOR: detector.model_dump_json().encode(),
    }


def write_archive(saved: Path, path: Path, parts: Mapping[str, bytes]) -> None:
    """Write what Keras saved, and parts behind it, as an archive of the same bytes every time.

    Keras writes the time and memory addresses into its archive; both are taken out here.
    """
    with (
        atomic_write(path) as tmp,
        zipfile.ZipFile(saved) as source,
        zipfile.ZipFile(tmp, "w") as target,
    ):
        for name in sorted(source.namelist()):
            content = source.read(name)
            content = _canonical(content) if name.endswith(".json") else content
            target.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), content)
        for name, content in parts.items():
            target.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), content)


def _canonical(content: bytes) -> bytes:
    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            dropped = {"date_saved", "shared_object_id"}
            return {key: clean(item) for key, item in value.items() if key not in dropped}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return json.dumps(clean(json.loads(content)), sort_keys=True).encode()


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a model's archive."""
    if not path.is_file():
        raise K49Error(f"{path}: no such model; `dvc repro` trains it")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {part.filename: part.file_size for part in archive.infolist()}
            if missing := {CONFIG, WEIGHTS} - set(sizes):
                raise K49Error(f"{path}: not a Keras model, it has no {min(missing)}")
            if sum(sizes.values()) > MOST_BYTES or sizes[CONFIG] > MOST_CONFIG:
                raise K49Error(
                    f"{path}: unpacks to {sum(sizes.values()):,} bytes; {MOST_BYTES:,} at most, "
                    f"and {MOST_CONFIG:,} of {CONFIG}"
                )
            yield archive
    except UNREADABLE as error:
        raise K49Error(f"{path}: not a Keras model that can be read: {error}") from error


def check_archive(path: Path) -> tuple[bytes, int]:
    """Check every part's checksum; return the network's description, and the weights' bytes.

    Raises:
        K49Error: as `open_archive`.
    """
    with open_archive(path) as archive:
        if damaged := archive.testzip():
            raise K49Error(f"{path}: damaged, its {damaged} has another checksum")
        return archive.read(CONFIG), archive.getinfo(WEIGHTS).file_size


def read_training(path: Path) -> TrainingConfig:
    """Read how the model of stage train was trained.

    Raises:
        K49Error: the file is no such model.
    """
    (content,) = _read_parts(path, [TRAINING], "train")
    where = f"{path}: {TRAINING}"
    return validate(TrainingConfig, parse_json(content, where), where)


def read_provenance(path: Path) -> tuple[Provenance, Detector]:
    """Read the data, settings and calibration of a model, and its detector of outliers.

    Raises:
        K49Error: the file is no model as stage calibrate writes it.
    """
    content, detector = _read_parts(path, [PROVENANCE, DETECTOR], "calibrate")
    where = f"{path}: {DETECTOR}"
    return (
        parse_provenance(content, f"{path}: {PROVENANCE}"),
        validate(Detector, parse_json(detector, where), where),
    )


def parse_provenance(content: bytes, where: str) -> Provenance:
    """Return the provenance that JSON holds; `where` is its name in errors.

    Raises:
        K49Error: it is no provenance.
    """
    return validate(Provenance, parse_json(content, where), where)


def _read_parts(path: Path, names: list[str], stage: str) -> list[bytes]:
    with open_archive(path) as archive:
        if missing := set(names) - set(archive.namelist()):
            raise K49Error(
                f"{path}: has no {min(missing)}, which stage {stage} writes; `dvc repro -f {stage}`"
            )
        for name in names:
            if (size := archive.getinfo(name).file_size) > MOST_PART:
                raise K49Error(f"{path}: {name} has {size:,} bytes, {MOST_PART:,} at most")
        return [archive.read(name) for name in names]


def check_shape(path: Path, shape: tuple[int, ...], dataset: DatasetInfo) -> None:
    """Refuse a model file whose network takes or returns something else than its provenance says.

    Args:
        path: of the file.
        shape: height and width of the network's images, and the number of classes.
        dataset: of the provenance.

    Raises:
        K49Error: they differ.
    """
    *takes, returns = shape
    if (*takes, returns) != (*dataset.image_size, len(dataset.classes)):
        raise K49Error(
            f"{path}: takes images of {takes[0]} x {takes[1]} and returns {returns} classes, but "
            f"is said to know {len(dataset.classes)} classes in images of "
            f"{dataset.image_size[0]} x {dataset.image_size[1]}"
        )
