"""Images whose label is probably wrong, by what models that never trained on them read there.

Confident learning: C. Northcutt, L. Jiang, I. Chuang, 2021, arXiv:1911.00068, whose library is
cleanlab. Git holds the class that is likeliest and two probabilities of each image, not all of
them; that is enough, since a class that isn't the likeliest passes its threshold only where that is
below a half.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from k49.comparison.runs import Run
from k49.data import Dataset, one_hot
from k49.data.corrections import SPLITS, Corrections
from k49.data.split import Raw, split_indices
from k49.errors import K49Error
from k49.evaluation.predictions import Predictions, fingerprint
from k49.settings import Split, validate
from k49.text import csv_text, in_terminal, printable

FOLDS = "dvc exp run --queue --name folds -S 'split.fold=range(0, 5)'"
MOST_CLASSES = 5  # that are named with their number of errors
COLUMNS = (  # of `rows`
    *("split", "index", "given", "likely"),
    *("given_probability", "likely_probability", "likely_error"),
)


@dataclass(frozen=True)
class Judged:
    """Opinions on images, each of a model that was not trained on it."""

    split: np.ndarray  # (N,) "train" or "test", as published
    index: np.ndarray  # (N,) row in that split's file
    given: np.ndarray  # (N,) labels
    likely: np.ndarray  # (N,) classes that are read
    given_probability: np.ndarray  # (N,)
    likely_probability: np.ndarray  # (N,)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: np.ndarray) -> "Judged":
        return Judged(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def collect(
    runs: Sequence[tuple[Run, Corrections]], train: Raw, test: Raw
) -> tuple[Judged, list[str]]:
    """Return the opinions of runs, and notes on images that nobody judged.

    Of test the first run's; of train each run's on its own validation images. Somebody has looked
    at images that a run left out or relabelled: they are no suspects any more.

    Args:
        runs: of one dataset, each with the corrections that it was trained with.
        train, test: as fetched.

    Raises:
        K49Error: these are other images than those that were read.
    """
    first, corrections_of_first = runs[0]
    notes, parts = [], [judged(first.test, test, corrections_of_first, None)]
    for run, corrections in runs:
        if run.val.opinion is None:
            notes.append(
                f"{run.name}: older, without probabilities of its validation images, which are "
                "left out; `dvc repro` writes them"
            )
            continue
        keys = {key: run.params.get(f"split.{key}") for key in Split.model_fields}
        split = validate(Split, keys, f"{run.name}: split")
        parts.append(judged(run.val, train, corrections, split))
    opinions = together(parts)
    seen = {split: len(corrections_of_first.rows(split)) for split in SPLITS}
    if images := sum(seen.values()):
        notes.append(f"{images:,} images that data.exclude and data.relabel name are no suspects")
    of_train = int(np.count_nonzero(opinions.split == "train"))
    in_all = len(train[1]) - seen["train"]
    if of_train < in_all:
        notes.append(
            f"judged {of_train:,} of {in_all:,} train images, those of validation; all of "
            f"them are by folds: {FOLDS}, `dvc queue start`, `k49 suspects 'folds-*'`"
        )
    return opinions, notes


def judged(
    predictions: Predictions, raw: Raw, corrections: Corrections, split: Split | None
) -> Judged:
    """Find the rows that predictions are of.

    Args:
        predictions: of validation or test, with opinions.
        raw: the published split, train or test.
        corrections: that the run was trained with.
        split: how validation was split off train; None: predictions are of test.

    Raises:
        K49Error: these are other images than those that were read.
    """
    images, labels = raw
    rows, name = np.arange(len(labels)), "test"
    if split is not None:
        rows, name = split_indices(labels, predictions.classes, split)[1], "train"
    stay, labels = corrections.apply(name, labels)
    rows = rows[stay[rows]]
    here = Dataset(images[rows][..., np.newaxis], one_hot(labels[rows], len(predictions.classes)))
    if fingerprint(here) != predictions.images:
        raise K49Error(
            f"{name} images of data/raw, with the files in labels/, are not those that were read; "
            "`dvc checkout` and `git checkout labels` bring those of the last commit back"
        )
    if (opinion := predictions.opinion) is None:
        raise ValueError("predictions without opinions")
    rows = rows[np.argsort(labels[rows], kind="stable")]
    opinions = Judged(
        split=np.full(len(rows), name),
        index=rows,
        given=predictions.labels,
        likely=opinion.predicted,
        given_probability=np.minimum(np.exp(-opinion.nll), 1),
        likely_probability=1 - opinion.doubt,
    )
    return opinions[~np.isin(rows, corrections.rows(name))]


def together(parts: Sequence[Judged]) -> Judged:
    """Join opinions; of several on one image the first stays."""
    joined = Judged(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in Judged.__dataclass_fields__
        )
    )
    places = np.char.add(joined.split, joined.index.astype(str))
    return joined[np.sort(np.unique(places, return_index=True)[1])]


@dataclass(frozen=True)
class Suspects:
    ranked: Judged  # all images, the most suspicious label first
    confident: int  # how many of them, the first ones, are likely errors
    errors: float  # the estimated number of errors among all images
    errors_of: np.ndarray  # (C,) among those with each label
    classes: Sequence[str]  # their names


def find_suspects(opinions: Judged, classes: Sequence[str]) -> Suspects:
    """Rank images by how likely their label is wrong, and estimate how many are.

    An image is a likely error if another class than its label is read with at least the mean
    probability that images with that label get for it. Ranks: likely errors first, then by the
    probability of the label minus that of the class that is read.
    """
    n = np.bincount(opinions.given, minlength=len(classes))
    sums = np.bincount(opinions.given, opinions.given_probability, len(classes))
    thresholds = np.divide(sums, n, out=np.full(len(classes), np.inf), where=n > 0)
    confident = opinions.likely_probability >= thresholds[opinions.likely]
    joint = np.zeros((len(classes), len(classes)))
    np.add.at(joint, (opinions.given[confident], opinions.likely[confident]), 1)
    counted = joint.sum(1)
    shares = np.divide(
        counted - joint.diagonal(), counted, out=np.zeros(len(classes)), where=counted > 0
    )
    likely_errors = confident & (opinions.likely != opinions.given)
    margin = opinions.given_probability - opinions.likely_probability
    order = np.lexsort((opinions.index, margin, ~likely_errors))
    return Suspects(
        ranked=opinions[order],
        confident=int(np.count_nonzero(likely_errors)),
        errors=float((shares * n).sum()),
        errors_of=shares * n,
        classes=classes,
    )


def examples(suspects: Suspects, label: int, most: int) -> np.ndarray:
    """Return places in `ranked` of `most` images with a label, the surest to have it."""
    ranked = suspects.ranked
    own = np.flatnonzero(ranked.given == label)
    sure = np.where(ranked.likely[own] == label, ranked.given_probability[own], -1)
    return own[np.argsort(-sure, kind="stable")[:most]]


# --- for people and programs ---------------------------------------------------------------------


def rows(suspects: Suspects, top: int) -> list[dict[str, Any]]:
    """Return the first suspects, images in which another class than the label is read."""
    ranked, classes = suspects.ranked, suspects.classes
    return [
        {
            "split": str(ranked.split[i]),
            "index": int(ranked.index[i]),
            "given": classes[ranked.given[i]],
            "likely": classes[ranked.likely[i]],
            "given_probability": round(float(ranked.given_probability[i]), 4),
            "likely_probability": round(float(ranked.likely_probability[i]), 4),
            "likely_error": i < suspects.confident,
        }
        for i in range(min(top, len(ranked)))
        if ranked.given[i] != ranked.likely[i]
    ]


def sentence(suspects: Suspects) -> str:
    largest = np.argsort(-suspects.errors_of, kind="stable")[:MOST_CLASSES]
    of_class = ", ".join(
        f"{suspects.classes[label]} {suspects.errors_of[label]:.0f}"
        for label in largest
        if suspects.errors_of[label] >= 0.5
    )
    judged_images = len(suspects.ranked)
    return (
        f"{suspects.confident:,} of {judged_images:,} labels are likely errors; estimated errors "
        f"in all {suspects.errors:.0f} ({suspects.errors / judged_images:.1%})"
        f"{f', most of {of_class}' if of_class else ''}; a model's own mistakes are among them, so "
        "look before you believe"
    )


def as_table(known: list[dict[str, Any]]) -> Table:
    table = Table(title="* likely error", title_justify="left", box=None)
    for name in ("", "split", "index", "label", "likely", "probability of label", "of likely"):
        table.add_column(name)
    for row in known:
        cells = (row["split"], row["index"], row["given"], row["likely"])
        shares = (f"{row[f'{name}_probability']:.4f}" for name in ("given", "likely"))
        mark = "*" if row["likely_error"] else ""
        table.add_row(mark, *map(in_terminal, cells), *shares)
    return table


def as_csv(known: list[dict[str, Any]]) -> str:
    shown = [
        {key: printable(value) if isinstance(value, str) else value for key, value in row.items()}
        for row in known
    ]
    return csv_text(shown, COLUMNS)


def as_json(suspects: Suspects, known: list[dict[str, Any]]) -> str:
    """Format as JSON: estimates for all judged images, and the rows."""
    errors_of = {
        name: round(float(count), 2)
        for name, count in zip(suspects.classes, suspects.errors_of, strict=True)
    }
    content = {
        "judged": len(suspects.ranked),
        "likely_errors": suspects.confident,
        "estimated_errors": round(suspects.errors, 2),
        "estimated_errors_of_class": errors_of,
        "suspects": known,
    }
    return json.dumps(content, ensure_ascii=False, indent=1)
