"""A model as one HTML file that reads characters in a browser, without network or installation.

`reader/` has its parts: `network.js` computes, `picture.js` prepares pictures as `k49/pictures`
does, `page.js` listens and shows. The page's policy forbids every request.
"""

import base64
import gzip
import html
import json
import struct
from pathlib import Path

import numpy as np

from k49.export.exported import Exported
from k49.io import write_text
from k49.kanjivg import trajectory
from k49.page import html_page
from k49.pictures import characters, clutter, colour, ink, layout, skew
from k49.pictures.files import LEAST_ON_WHITE

PARTS = Path(__file__).parent / "reader"
SCRIPTS = ("network.js", "picture.js", "clutter.js", "layout.js", "page.js")
TWINS = (
    clutter,
    colour,
    ink,
    characters,
    layout,
    skew,
)  # whose constants the page's scripts have, too
STEPS = 63  # of a weight, both ways from 0: in seven bits, of which gzip makes six
POINTS = 48  # of an example's line
ON_PAPER = 0.5


def write(exported: Exported, path: Path) -> None:
    """Write a model as a page; its weights as int8, a scale a channel."""
    script = "\n".join((PARTS / name).read_text("utf-8") for name in SCRIPTS)
    values = ", ".join(f"{name} = {value}" for name, value in constants().items())
    script = f'"use strict";\nconst MODEL = "{packed(exported)}", {values};\n{script}'
    title = f"k49: reads {html.escape(exported.dataset.name)}"
    filled = {
        "language": html.escape(exported.dataset.language or ""),
        "about": about(exported),
    }
    write_text(path, html_page(PARTS, title, script, filled))


def constants() -> dict[str, int | float | list[float]]:
    """Return the constants of k49/pictures by their names: numbers, and lists of them."""
    found: dict[str, int | float | list[float]] = {"LEAST_ON_WHITE": LEAST_ON_WHITE}
    for module in TWINS:
        for name, value in vars(module).items():
            if name.isupper() and isinstance(value, int | float):
                found[name] = value
            elif name.isupper() and isinstance(value, np.ndarray) and value.ndim == 1:
                found[name] = value.tolist()
    return found


def about(exported: Exported) -> str:
    dataset, metrics = exported.dataset, json.loads(exported.about.get("metrics", "{}"))
    parts = [f"Trained on {dataset.name}; the model reads {len(dataset.classes)} classes."]
    if "test_accuracy" in metrics:
        parts.append(
            f"It reads {metrics['test_accuracy']:.1%} of the test images of these correctly."
        )
    parts.append(
        f"Licence: {exported.about['licence']}. Examples: KanjiVG (Ulrich Apel), CC BY-SA 3.0."
    )
    text = html.escape(" ".join(parts))
    if dataset.warning:
        text = f'<p class="warning">Warning: {html.escape(dataset.warning)}.</p><p>{text}</p>'
    return text


def packed(exported: Exported) -> str:
    """Return the model as base64 of gzip: a description as JSON, then scales and weights."""
    network, dataset, calibration = exported.network, exported.dataset, exported.calibration
    detector = exported.detector
    description = {
        "size": network.image_size,
        "classes": dataset.classes,
        "normalize": dataset.normalize,
        "invert": dataset.invert,
        "extent": dataset.ink_extent,
        "certain": calibration.certain,
        "outlier": calibration.outlier,
        "operations": [
            {
                **step.as_dict(),
                "arrays": {
                    name: {"shape": array.shape, "scales": array.shape[-1] if array.ndim > 1 else 1}
                    for name, array in step.arrays.items()
                },
            }
            for step in network.operations
        ],
        "hidden": network.hidden,
        "logits": network.logits,
        "detector": {
            "weights": [round(weight, 7) for weight in detector.weights],
            "bias": detector.bias,
        },
        "examples": {name: example(name) for name in dataset.classes if len(name) == 1},
    }
    head = json.dumps(description, ensure_ascii=False).encode()
    arrays = (array for step in network.operations for array in step.arrays.values())
    body = b"".join(map(quantized, arrays))
    content = struct.pack("<I", len(head)) + head + body
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def quantized(array: np.ndarray) -> bytes:
    """Return scales, float32, one a channel or for a vector, then the array in their steps."""
    flat = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array[:, np.newaxis]
    largest = np.abs(flat).max(0)
    scales = np.where(largest > 0, largest / STEPS, 1).astype("<f4")
    return scales.tobytes() + np.rint(flat / scales).astype(np.int8).tobytes()


def example(character: str) -> str | None:
    """Return how a character is written, as an SVG path in a square of 1; None if that is unknown.

    The strokes are KanjiVG's, as in the stand-in.
    """
    try:
        points, on_paper = trajectory(character)
    except (KeyError, FileNotFoundError):
        return None
    chosen = np.linspace(0, len(points) - 1, 4 * POINTS).astype(int)
    points, on_paper = points[chosen], on_paper[chosen] > ON_PAPER
    low, high = points[on_paper].min(0), points[on_paper].max(0)
    points = (points - (low + high) / 2) / max(high - low) + 0.5
    pieces = []
    for i in np.flatnonzero(on_paper):
        x, y = (f"{value:.2f}".replace("0.", ".") for value in points[i])
        pieces.append(f"{'L' if i and on_paper[i - 1] else 'M'}{x} {y}")
    return "".join(pieces)
