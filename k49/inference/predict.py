"""Reads the characters in pictures: from files to images, the likeliest classes, and their output.

`models` computes the probabilities.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.table import Table

from k49.data.arrays import File, open_array
from k49.data.images import brighten_pixels, image_chunks, size_of
from k49.errors import K49Error
from k49.inference.models import Model
from k49.io import atomic_write
from k49.pictures import prepare
from k49.pictures.files import Source, pages_of
from k49.pictures.layout import LAYOUT, Layout, doubts_of
from k49.pictures.single import read_scaled
from k49.progress import tracked
from k49.settings import DatasetInfo
from k49.text import ReadingOrder, code_point, csv_text, in_terminal

MOST_NAME = 80  # characters of a picture's name in that of its crop
Named = list[tuple[str, np.ndarray]]  # names and images (H, W) uint8


class Character(NamedTuple):
    """A character of a source, and the note on that."""

    name: str
    image: np.ndarray  # (H, W) uint8
    note: str


def layout_by(model: Model, order: ReadingOrder = "auto") -> Layout:
    """Return a layout in which characters are told apart by how surely a model reads them.

    Args:
        model: opened.
        order: of reading.
    """

    def doubts(images: np.ndarray) -> np.ndarray:
        images = images[..., np.newaxis]
        calibration = model.provenance.calibration
        probabilities = model.probabilities(images, 0, 1).max(1)  # first: it sets Keras up
        scores = model.scores(images) - calibration.outlier
        return doubts_of(probabilities, scores, calibration.certain)

    return Layout(order, doubts)


def read(source: Source, dataset: DatasetInfo, layout: Layout = LAYOUT) -> tuple[Named, str]:
    """Read the characters of a picture, or an array: names and images (H, W) uint8.

    Several characters of a picture, and the rows of an `.npz` or `.npy`, are named `file[0]`,
    `file[1]`, ... Such an array is one image or many, as `data.images` says, and taken as it is.
    `-` is a picture on standard input.

    Args:
        source: path of the file, or a page of it.
        dataset: the form of the images: height, width, and how they are made of pictures.
        layout: how the characters of a picture are told apart.

    Returns:
        The images, and a note on doubts, or "".

    Raises:
        K49Error: the file is missing, neither a picture nor such an array, or without ink.
    """
    if not isinstance(source, Path):
        return read_picture(source, dataset, layout)
    if str(source) != "-" and not source.is_file():
        raise K49Error(
            f"{source}: no such file" if not source.exists() else f"{source}: not a file"
        )
    if source.suffix.lower() not in (".npz", ".npy"):
        return read_picture(source, dataset, layout)
    height, width = dataset.image_size
    images = read_array(source, (height, width))
    if images.max() <= dataset.white:
        images = brighten_pixels(images, dataset.white)
    return numbered(source, images), ""


def read_picture(
    source: Source, dataset: DatasetInfo, layout: Layout = LAYOUT
) -> tuple[Named, str]:
    """Read the characters of a picture; as `read`."""
    height, width = dataset.image_size
    if dataset.normalize == "scale":
        image, more = read_scaled(source, (height, width), dataset.invert)
        return [(str(source), 255 - image if dataset.invert else image)], more
    images, note = prepare(source, (height, width), dataset.ink_extent, layout)
    if len(images) == 1:
        return [(str(source), images[0])], note
    return numbered(source, images), note


def numbered(source: Source, images: Iterable[np.ndarray]) -> Named:
    return [(f"{source}[{i}]", image) for i, image in enumerate(images)]


def read_all(
    sources: Iterable[Source], read_one: Callable[[Source], tuple[Named, str]]
) -> tuple[list[Character], list[str], list[str]]:
    """Read several sources, each by `read_one`: `read` or `read_picture` with their settings.

    A TIFF of several pages is read page by page: `file page 1`, `file page 2`, ...

    Returns:
        The characters of the readable ones; notes, a line a source; and the errors of the others,
        as text: an error keeps its frames alive, and the pictures in them.
    """
    characters, notes, faults = [], [], []
    for source in tracked(list(sources), "reading"):
        try:
            pages = pages_of(source)
        except K49Error as error:
            faults.append(str(error))
            continue
        for page in pages:
            try:
                images, note = read_one(page)
            except K49Error as error:
                faults.append(str(error))
                continue
            characters += [Character(name, image, note) for name, image in images]
            if note:
                notes.append(f"{page}: {note}")
    return characters, notes, faults


def read_array(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read images (N, H, W) uint8 of an `.npz` or `.npy` file; one image alone is N = 1."""
    with open_array(File(path, str(path))) as array:
        if array.shape in (size, (*size, 1)):
            array = replace(array, shape=(1, *array.shape))
        return np.concatenate(list(image_chunks(array, size_of(array, size))))


def stack(images: list[np.ndarray]) -> np.ndarray:
    return np.stack(images)[..., np.newaxis]


def predict(model: Model, images: np.ndarray, top: int) -> list[list[dict]]:
    """Return the `top` likeliest classes of each image, likeliest first.

    Averaged over as many shifts of the image as the model file says. Each is marked `uncertain`
    where the likeliest one is, and `outlier` where the image is unlike all training images.

    Args:
        model: opened.
        images: (N, H, W, 1) uint8, light ink on black.
        top: how many classes; all, if there are fewer.

    Raises:
        K49Error: as `Model.read`.
    """
    result = model.read(images)
    return [
        [
            {
                **candidate,
                "uncertain": bool(result.uncertain[i]),
                "outlier": bool(result.outlier[i]),
            }
            for candidate in best(row, model.dataset.classes, top)
        ]
        for i, row in enumerate(result.probabilities)
    ]


def save_crops(characters: Sequence[Character], folder: Path) -> None:
    """Write the images that a network reads as PNG, numbered, into a folder."""
    for number, (name, image, _) in enumerate(characters):
        short = re.sub(r"[^\w.-]+", "-", Path(name).name).strip("-.")
        with atomic_write(folder / f"{number:03}-{short[:MOST_NAME]}.png") as partial:
            Image.fromarray(image).save(partial, "PNG")


def describe(model: Model) -> list[str]:
    """Return a line about the training of a model, and the warning of its data."""
    provenance = model.provenance
    config, dataset = provenance.training, provenance.dataset
    lines = [
        f"{model.path}: trained on {dataset.name}; {config.hyperparameters.network} of "
        f"{config.hyperparameters.units}, {config.hyperparameters.activation}, {config.epochs} "
        f"epochs at most, batches of {config.fit.batch_size}, dropout {config.fit.dropout}, "
        f"{'distorted images' if config.augment.enabled else 'images as they are'}"
    ]
    if provenance.shifts:
        lines[0] += f"; predictions averaged over {(2 * provenance.shifts + 1) ** 2} shifts"
    if dataset.warning:
        lines.append(f"warning: {dataset.warning}")
    return lines


def best(probabilities: np.ndarray, classes: Sequence[str], top: int) -> list[dict]:
    """Return the `top` likeliest classes of one row (C,), likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [
        {
            "character": classes[label],
            "code_point": code_point(classes[label]),
            "probability": round(float(probabilities[label]), 6),
        }
        for label in order
    ]


def predict_rows(model: Model, characters: Sequence[Character], top: int) -> list[dict]:
    """Return a row for each of the `top` candidates of each of the characters, of which some are.

    Its keys are image, rank (from 1), those of `predict`, and note.
    """
    candidates = predict(model, stack([character.image for character in characters]), top)
    return [
        {"image": character.name, "rank": rank, **candidate, "note": character.note}
        for character, of_image in zip(characters, candidates, strict=True)
        for rank, candidate in enumerate(of_image, start=1)
    ]


def as_table(rows: list[dict]) -> Table:
    """Return a table for Rich to print; a picture's name stands in its first row only."""
    words = any(len(row["character"]) > 1 for row in rows)
    heading = "class" if words else "character"
    table = Table("image", heading, "code point", "probability", "", box=None)
    for row in rows:
        first = row["rank"] == 1
        probability = f"{row['probability']:.4f}"
        table.add_row(
            in_terminal(row["image"] if first else ""),
            in_terminal(row["character"]),
            row["code_point"],
            probability,
            doubt(row) if first else "",
        )
    return table


def doubt(row: dict) -> str:
    """Return a row's mark and its note as text."""
    mark = "uncertain" if row["uncertain"] else ""
    if row["outlier"]:
        mark = "unlike the training images: perhaps not one of the classes"
    return "; ".join(filter(None, [mark, row["note"]]))


def as_json(rows: list[dict]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=1)


def as_csv(rows: list[dict]) -> str:
    return csv_text(rows, list(rows[0]))
