"""Descriptions of datasets: title, files, classes and licence, each from a small YAML file.

Those of k49/datasets/ come with the project; `datasets/NAME.yaml` next to params.yaml is a user's
own, and goes before one of the same name here.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from k49.errors import K49Error
from k49.io import md5, read_yaml
from k49.settings import Classes, ImageSize, Line, Section, Source, validate

MD5SUMS = "md5sums"  # name of a list of them, next to the files
MOST_BYTES = 1 << 20  # of a list


class Checksum(Section):
    """The expected MD5 of a file (32 hexadecimal digits), and its size in bytes where known."""

    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    size: Annotated[int, Field(ge=1)] | None = None

    def __str__(self) -> str:
        return f"{self.size} bytes, MD5 {self.md5}" if self.size else f"MD5 {self.md5}"


def matches(path: Path, checksum: Checksum) -> bool:
    if checksum.size not in (None, path.stat().st_size):
        return False
    return md5(path) == checksum.md5


def read_md5sums(path: Path) -> tuple[dict[str, Checksum], str]:
    """Parse a file as `md5sum` writes it, lines of `<32 digits>  <name>`.

    Returns:
        The checksums by file name, and how the file starts, for the error that finds none.
    """
    with path.open("rb") as file:
        text = file.read(MOST_BYTES).decode("utf-8", errors="replace")
    lines = re.findall(r"^([0-9a-f]{32}) [ *](.+?)\s*$", text, re.MULTILINE | re.IGNORECASE)
    start = f"it starts with {text[:40]!r}" if text.strip() else "it is empty"
    return {name: Checksum(md5=digits.lower()) for digits, name in lines}, start


PACKAGED = Path(__file__).parents[1] / "datasets"


def check_plain_name(name: str) -> str:
    """Raise ValueError unless it is a file's name and no path; return it."""
    if not name.isprintable() or re.search(r"[/\\]|^\.*$", name):
        raise ValueError(f"{name!r:.80} should be a file's name, without a folder")
    return name


def each_character(classes: Any) -> Any:
    return list(classes) if isinstance(classes, str) else classes


FileName = Annotated[str, AfterValidator(check_plain_name)]


class Place(Section):
    """Where an array is: in which file, and under which key of an npz."""

    file: FileName
    key: str | None = None


class Arrays(Section):
    train_images: Place
    train_labels: Place
    test_images: Place
    test_labels: Place

    @classmethod
    def at(cls, places: Iterable[Place]) -> Self:
        return cls(**dict(zip(cls.model_fields, places, strict=True)))

    def files(self) -> list[str]:
        return list(dict.fromkeys(place.file for place in self.places().values()))

    def places(self) -> dict[str, Place]:
        return {name: getattr(self, name) for name in type(self).model_fields}


class Description(Section):
    """A dataset, described in one place. All but the title may be left out."""

    title: Annotated[Line, Field(min_length=1, max_length=80)]
    mirrors: list[Source] = Field(default=[])  # addresses or folders, tried in this order
    # all of them; without, a mirror's files are recognized by their names
    files: dict[FileName, Checksum] = Field(default={})
    arrays: Arrays | None = None  # where files and keys have names of their own
    image_size: ImageSize | None = None
    # a string: a class for each of its characters; without, classes are called as their labels
    classes: Annotated[Classes, BeforeValidator(each_character)] = Field(default=[])
    language: Line | None = None  # ISO 639-1, for the model card
    licence: Line | None = None
    citation: Line | None = None
    warning: Line | None = None  # said of each model that was trained on it

    @model_validator(mode="after")
    def _arrays_are_in_the_files(self) -> Self:
        missing = set(self.arrays.files()) - set(self.files) if self.arrays and self.files else ()
        if missing:
            raise ValueError(f"arrays name {', '.join(sorted(missing))}, which files lacks")
        return self


def find(name: str, own: Path) -> Description | None:
    """Return the description of that name, or None if there is none.

    Args:
        name: of the file, without .yaml.
        own: folder of the user's own descriptions.

    Raises:
        K49Error: it is no description.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        return None
    for folder in (own, PACKAGED):
        if (path := folder / f"{name}.yaml").is_file():
            return validate(Description, read_yaml(path), str(path))
    return None


def packaged(name: str) -> Description:
    description = find(name, PACKAGED)
    if description is None:
        raise K49Error(f"{PACKAGED / name}.yaml: not found")
    return description


def known(own: Path) -> dict[str, Description]:
    names = sorted({path.stem for folder in (own, PACKAGED) for path in folder.glob("*.yaml")})
    return {name: description for name in names if (description := find(name, own))}


def rights(description: Description | None) -> dict[str, str | None]:
    """Return language, licence (and how to cite) and warning of a description, if known."""
    if description is None:
        return {"language": None, "licence": None, "warning": None}
    licence = ", ".join(filter(None, [description.citation, description.licence])) or None
    return {
        "language": description.language,
        "licence": licence,
        "warning": description.warning,
    }
