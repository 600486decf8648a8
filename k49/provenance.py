"""What a model file says of itself, read without Keras."""

from pathlib import Path
from typing import Any

from k49.data import descriptions
from k49.model_file import read_part
from k49.outside import parse_json
from k49.settings import DatasetInfo, Provenance
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
    where = f"{path}: {Provenance.FILE}"
    said: Any = parse_json(content, where)
    if isinstance(said, dict) and isinstance(said.get("dataset"), str):
        said["dataset"] = k49s_form(said["dataset"])
    return validate(Provenance, said, where)


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
