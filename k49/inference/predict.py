"""The likeliest classes of images, and how they are printed: as a table, JSON or CSV."""

import csv
import io
import json
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from k49.inference.models import Model
from k49.text import code_point, in_terminal


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
    read = model.read(images)
    return [
        [
            {**candidate, "uncertain": bool(read.uncertain[i]), "outlier": bool(read.outlier[i])}
            for candidate in best(row, model.dataset.classes, top)
        ]
        for i, row in enumerate(read.probabilities)
    ]


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


def candidate_rows(names: list[str], candidates: list[list[dict]]) -> list[dict]:
    """Return a row for each candidate of each image: image, rank (from 1), and its own keys."""
    return [
        {"image": name, "rank": rank, **candidate}
        for name, of_image in zip(names, candidates, strict=True)
        for rank, candidate in enumerate(of_image, start=1)
    ]


def as_table(rows: list[dict]) -> Table:
    """Return a table for Rich to print; a picture's name stands in its first row only."""
    table = Table("image", "character", "code point", "probability", "", box=None)
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
    if row["outlier"]:
        return "unlike the training images: perhaps not one of the classes"
    return "uncertain" if row["uncertain"] else ""


def as_json(rows: list[dict]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=1)


def as_csv(rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
