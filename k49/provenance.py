"""What a model file says of itself, read without Keras."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from k49.data import descriptions
from k49.data.arrays import read_small
from k49.errors import K49Error
from k49.model_file import Detector, read_part
from k49.outside import parse_json
from k49.settings import Calibration, DatasetInfo, Provenance
from k49.validation import validate

MOST_BYTES = 1 << 20


def read_provenance(path: Path) -> Provenance | None:
    """Read how a model was trained, as `save_model` wrote it; None if the file doesn't say.

    Models of before the project knew other datasets name theirs alone: it had K49's form.

    Raises:
        K49Error: it is no model, or says something that can't be.
    """
    content = read_part(path, Provenance.FILE, MOST_BYTES)
    if content is None:
        return None
    return said_by(content, f"{path}: {Provenance.FILE}")


def said_by(content: bytes, where: str) -> Provenance:
    """Return what a model file says of itself, checked; as `read_provenance`."""
    said: Any = parse_json(content, where)
    if isinstance(said, dict) and isinstance(said.get("dataset"), str):
        said["dataset"] = k49s_form(said["dataset"])
    return validate(Provenance, said, where)


def read_detector(path: Path) -> Detector | None:
    """Read what tells a model's outliers, as `save_model` wrote it; None if it has no such part.

    Raises:
        K49Error: it is no model, or the part something else.
    """
    content = read_part(path, Detector.FILE, MOST_BYTES)
    if content is None:
        return None
    where = f"{path}: {Detector.FILE}"
    arrays = read_small(io.BytesIO(content), where)
    weights, bias = (arrays.get(key, np.empty(())) for key in ("weights", "bias"))
    kinds = {array.dtype for array in (weights, bias)}
    if kinds != {np.dtype(np.float32)} or (weights.ndim, bias.ndim) != (1, 0):
        raise K49Error(f"{where}: not weights and bias, float32, as `save_model` writes them")
    return Detector(weights, bias)


def calibrated(path: Path) -> tuple[Provenance, Calibration, Detector]:
    """Read all that stage `train` writes into a model file beside the network.

    Raises:
        K49Error: it is no model, or something of that is missing.
    """
    said, detector = read_provenance(path), read_detector(path)
    if said is None or said.calibration is None or detector is None:
        raise K49Error(
            f"{path}: doesn't say how it was trained and calibrated; `dvc repro -f train` does"
        )
    return said, said.calibration, detector


def check_size(path: Path, size: tuple[int, ...], dataset: DatasetInfo) -> None:
    """Refuse a model file whose network takes or returns something else than it says.

    Args:
        path: of the file.
        size: height and width of its network's images, and the number of classes.
        dataset: what the file says.

    Raises:
        K49Error: they differ.
    """
    *takes, returns = size
    if (*takes, returns) != (*dataset.image_size, len(dataset.classes)):
        raise K49Error(
            f"{path}: takes images of {takes[0]} x {takes[1]} and returns {returns} classes, but "
            f"is said to know {len(dataset.classes)} classes in images of "
            f"{dataset.image_size[0]} x {dataset.image_size[1]}"
        )


def of_k49s_form(name: str) -> DatasetInfo:
    """Return what is known of a dataset of K49's classes, by its name alone."""
    return DatasetInfo(**k49s_form(name))


def k49s_form(name: str) -> dict[str, Any]:
    """Return the same, not checked yet: a name may be anybody's."""
    k49 = descriptions.packaged("k49")
    titled = [each for each in (k49, descriptions.packaged("standin")) if each.title == name]
    return {
        "name": name,
        "classes": k49.classes,
        "image_size": k49.image_size or [28, 28],
        "normalize": "ink",
        "invert": False,
        **descriptions.rights(titled[0] if titled else None),
    }
