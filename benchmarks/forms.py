"""How fast the forms of a model read, and how well: Keras, ONNX, the page, `k49 predict`.

    python -m benchmarks.forms [FOLDER ...]

Each FOLDER is a project in which `dvc repro` has run. Rounds are interleaved; medians. The page
reads all test images in Chromium. Writes benchmarks/forms.json and .md.
"""

import base64
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.epoch import machine, publish_of_folders
from k49.files import read_npy
from k49.outside import read_json
from k49.provenance import calibrated
from k49.settings import Provenance
from k49.training.engine import compile_predict
from k49.training.model import load_model

ROUNDS, ONE, MANY = 7, 50, 2048  # readings of one image a round; images at once
SIZES = {"keras": "model.keras", "onnx": "model.onnx", "page": "reader.html"}
READ = """async (base64) => {
    const model = await ready, bytes = atob(base64), size = model.size[0] * model.size[1];
    const read = [], milliseconds = [];
    for (let at = 0; at < bytes.length; at += size) {
        const image = Uint8Array.from(bytes.slice(at, at + size), (byte) => byte.charCodeAt(0));
        const start = performance.now();
        const {probabilities} = readImage(model, image);
        milliseconds.push(performance.now() - start);
        read.push(probabilities.indexOf(Math.max(...probabilities)));
    }
    return {read, milliseconds: milliseconds.sort((a, b) => a - b)[milliseconds.length >> 1]};
}"""
DRAWN = """async () => {
    const model = await ready, values = new Float32Array(BOARD ** 2).fill(255), times = [];
    for (let y = 10; y < 100; y++) values.fill(30, y * BOARD + 50, y * BOARD + 56);
    for (let time = 0; time < 50; time++) {
        const start = performance.now();
        const {images: [image]} = characters({height: BOARD, width: BOARD, values}, model.size);
        readImage(model, image);
        times.push(performance.now() - start);
    }
    return times.sort((a, b) => a - b)[25];
}"""


def main() -> None:
    """Every form of every folder's model."""
    publish_of_folders("forms", __doc__, of_model, table)


def of_model(folder: Path) -> Iterator[dict]:
    """A row for each form."""
    models = folder / "models"
    said, _, _ = calibrated(models / "model.keras")
    images = read_npy(folder / "data/split/test_images.npy")
    labels = read_npy(folder / "data/split/test_labels.npy").argmax(1)
    network = load_model(models / "model.keras")
    compiled = compile_predict(network)
    session = onnxruntime.InferenceSession(models / "model.onnx")
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "keras": lambda x: network.predict(x, verbose=0),
        "keras, compiled": lambda x: compiled(x).numpy(),
        "onnx": lambda x: session.run(["probabilities"], {"image": x})[0],
    }
    for form, found in timed(ways, np.asarray(images[:MANY])).items():
        read = np.concatenate([ways[form](part) for part in np.array_split(images, 20)])
        found["accuracy"] = float(np.mean(read.argmax(1) == labels))
        yield row(folder, said, form, found)
    yield row(folder, said, "page", of_page(models / "reader.html", images, labels))
    yield row(folder, said, "k49 predict", {"start_ms": started(folder, images[0, ..., 0])})


def row(folder: Path, said: Provenance, form: str, found: dict) -> dict:
    """What was measured, and of what."""
    file = folder / "models" / SIZES.get(form.split(",")[0], "none")
    known = {"bytes": file.stat().st_size} if file.is_file() else {}
    print(folder, form, found, flush=True)
    return {
        "data": read_json(folder / "metrics/data.json")["dataset"],
        "network": said.training.hyperparameters.network,
        "form": form,
        **known,
        **found,
    }


def timed(ways: dict[str, Callable], images: np.ndarray) -> dict[str, dict]:
    """Milliseconds for one image, and images a second of many at once; medians of rounds."""
    one: dict[str, list[float]] = {form: [] for form in ways}
    many: dict[str, list[float]] = {form: [] for form in ways}
    for number in range(ROUNDS + 1):
        for form, read in ways.items():
            start = time.perf_counter()
            for image in images[:ONE]:
                read(image[np.newaxis])
            middle = time.perf_counter()
            read(images)
            if number:  # the first round compiles
                one[form].append(1e3 * (middle - start) / ONE)
                many[form].append(len(images) / (time.perf_counter() - middle))
    return {
        form: {"one_ms": float(np.median(one[form])), "a_second": float(np.median(many[form]))}
        for form in ways
    }


def of_page(path: Path, images: np.ndarray, labels: np.ndarray) -> dict:
    """The page's accuracy on test, and its milliseconds for an image, and for a drawing."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.goto(path.resolve().as_uri())
        found = page.evaluate(READ, base64.b64encode(np.asarray(images).tobytes()).decode())
        drawing = page.evaluate(DRAWN)
        browser.close()
    accuracy = float(np.mean(np.array(found["read"]) == labels))
    return {"one_ms": found["milliseconds"], "drawing_ms": drawing, "accuracy": accuracy}


def started(folder: Path, image: np.ndarray) -> float:
    """Milliseconds of `k49 predict` for one picture, its process's start included."""
    picture = folder / "data" / "one.png"
    Image.fromarray(255 - image).resize((112, 112)).save(picture)
    command = [Path(sys.executable).with_name("k49"), "predict", "data/one.png"]
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        times.append(1e3 * (time.perf_counter() - start))
    picture.unlink()
    return float(np.median(times))


def table(rows: list[dict]) -> str:
    """In Markdown."""
    lines = [
        "# Forms",
        "",
        f"One image at a time, {MANY} at once, a drawing of 112 pixels with its preparation, and "
        f"`k49 predict` of one picture from its start on; medians of {ROUNDS} interleaved rounds. "
        "By `python -m benchmarks.forms`.",
        "",
        machine(),
        "",
        "| network | data | form | KB | one image, ms | images a second | a drawing, ms "
        "| process, ms | test accuracy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in rows:
        cells = [
            *(each["network"], each["data"], each["form"]),
            f"{each['bytes'] / 1000:,.0f}" if "bytes" in each else "",
            f"{each['one_ms']:.3f}" if "one_ms" in each else "",
            f"{each['a_second']:,.0f}" if "a_second" in each else "",
            f"{each['drawing_ms']:.1f}" if "drawing_ms" in each else "",
            f"{each['start_ms']:.0f}" if "start_ms" in each else "",
            f"{each['accuracy']:.4f}" if "accuracy" in each else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
