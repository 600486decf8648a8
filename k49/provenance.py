"""What a model file says of itself, read without Keras."""

import json
import zipfile
import zlib
from pathlib import Path

from k49.data import descriptions
from k49.settings import DatasetInfo, Provenance

MOST_BYTES = 1 << 20


def read_provenance(path: Path) -> Provenance | None:
    """Read how a model was trained, as `save_model` wrote it; None if the file doesn't say.

    Models of before the project knew other datasets name theirs alone: it had K49's form.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(Provenance.FILE) as file:
            content = json.loads(file.read(MOST_BYTES))
        if isinstance(content.get("dataset"), str):
            content["dataset"] = of_k49s_form(content["dataset"]).model_dump()
        return Provenance.model_validate(content)
    except (
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ):
        return None


def of_k49s_form(name: str) -> DatasetInfo:
    """Return what is known of a dataset of K49's classes, by its name alone."""
    k49 = descriptions.packaged("k49")
    titled = [each for each in (k49, descriptions.packaged("standin")) if each.title == name]
    return DatasetInfo(
        name=name,
        classes=k49.classes,
        image_size=k49.image_size or [28, 28],
        normalize="ink",
        invert=False,
        **descriptions.rights(titled[0] if titled else None),
    )
