"""A page to look at suspects one by one, which writes the decisions as files for `labels/`."""

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from k49.comparison.suspects import Suspects, examples, rows
from k49.data.corrections import Corrections, LabelFile
from k49.data.split import Raw
from k49.page import html_page

PARTS = Path(__file__).parent
EXAMPLES = 4  # of a class
MOST = 2_000  # suspects on a page, each 1 KB
NAMES = {"exclude": "exclude.csv", "relabel": "relabel.csv"}


def review_page(
    suspects: Suspects, top: int, raw: dict[str, Raw], dataset: str, corrections: Corrections
) -> str:
    """Return the page as HTML, which needs no network.

    Args:
        suspects: ranked.
        top: how many to show, 2,000 at most.
        raw: "train" and "test", as fetched.
        dataset: what to call the data.
        corrections: that the run was trained with; what is saved holds their rows, too.
    """
    known, classes = rows(suspects, min(top, MOST)), suspects.classes
    labels = {classes.index(row[name]) for row in known for name in ("given", "likely")}
    ranked = suspects.ranked
    files = {"exclude": corrections.exclude, "relabel": corrections.relabel}
    content = {
        "rows": [row | {"image": as_png(raw[row["split"]][0][row["index"]])} for row in known],
        "examples": {
            classes[label]: [
                as_png(raw[str(ranked.split[place])][0][ranked.index[place]])
                for place in examples(suspects, label, EXAMPLES)
            ]
            for label in sorted(labels)
        },
        "before": {name: rows_before(file, classes) for name, file in files.items()},
        "files": {
            name: Path(file.where).name if file else NAMES[name] for name, file in files.items()
        },
    }
    script = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    of_all = "" if len(known) < MOST else f" The first {MOST:,}."
    about = (
        f"{len(known):,} images of {dataset} whose label may be wrong, the likeliest first, "
        f"each next to sure images of its label and of the class that is read.{of_all}"
    )
    return html_page(
        PARTS,
        f"Labels to review: {html.escape(dataset)}",
        f'"use strict";\nconst DATA = {script};\n{(PARTS / "page.js").read_text("utf-8")}',
        {"about": html.escape(about)},
    )


def rows_before(file: LabelFile | None, classes: Sequence[str]) -> list[dict[str, Any]]:
    if file is None:
        return []
    columns = (file.split.tolist(), file.index.tolist(), *file.labels[:, [0, -1]].T.tolist())
    return [
        {"split": split, "index": index, "given": classes[given], "likely": classes[likely]}
        for split, index, given, likely in zip(*columns, strict=True)
    ]


def as_png(image: np.ndarray) -> str:
    """Return an image (H, W) uint8 as a PNG in base64."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()
