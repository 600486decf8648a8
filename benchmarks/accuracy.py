"""Time to accuracy: minutes until validation reaches a level, for each recipe and for PyTorch.

`make bench` runs all of it (more than an hour); for a part:

    .venv-bench/bin/python -m benchmarks.accuracy --only default cnn [--scale 0.15]

Every way searches and trains in a process of its own, and validates after each epoch; the clock
does not stop for that. `cnn, 3 epochs` is the recipe cnn with a schedule of that length. `cnn in
PyTorch` is the network of the recipe cnn with its optimizer, schedule, smoothing and distortions,
in the fastest of the ways of epoch.md. Writes benchmarks/accuracy.json, .md and .png after each
way; ways that an earlier run measured stay, if processor, packages and images were the same.
"""

import argparse
import json
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.epoch import HERE, K49, draw, last_line, machine, publish
from benchmarks.ways import load, settings_of, torch_cnn
from k49.io import read_json

LEVELS = (0.95, 0.97, 0.98, 0.985, 0.989)  # of validation accuracy
WAYS = {
    "report": "report",
    "default": "default",
    "short": "cnn, 3 epochs",
    "cnn": "cnn",
    "resnet": "resnet",
    "torch": "cnn in PyTorch",
}
Reached = Callable[[float], None]  # called with each epoch's val_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the stand-in; 1 is K49's size")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--run", choices=WAYS, help="this one, in the folder at hand")
    options = parser.parse_args()
    if options.run:
        print(json.dumps(points_of(options.run)))
        return

    with TemporaryDirectory() as scratch:
        data = Path(scratch, "data")
        images = draw(data, options.scale)
        where = machine()
        rows = {row["way"]: row for row in measured_before(images, where)}
        for way in options.only:
            points = last_line(["benchmarks.accuracy", "--run", way], data)
            rows[way] = {"way": way, "images": images, "where": where, "points": points}
            in_order = [rows[way] for way in WAYS if way in rows]
            publish("accuracy", in_order, table(in_order))
            chart(in_order)


def measured_before(images: int, where: str) -> list[dict]:
    """Return the rows of earlier runs with so many images, processor and packages as in `where`."""
    path, here = HERE / "accuracy.json", processor_and_packages(where)
    return [
        row
        for row in (read_json(path) if path.exists() else [])
        if row["images"] == images and processor_and_packages(row["where"]) == here
    ]


def processor_and_packages(where: str) -> str:
    """Return the line of `machine` without the speed and the commit, which each run has anew."""
    return re.sub(r", sgemm [^;]+|; commit \w+$", "", where)


def points_of(way: str) -> list[list[float]]:
    """Return seconds since the start, and val_accuracy, of each epoch of a training.

    The data are those in the folder at hand. Keras and TensorFlow are imported before the clock
    starts: the way in PyTorch takes its settings from modules that need them.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import k49.training.fit  # noqa: F401

    points: list[list[float]] = []
    start = time.perf_counter()

    def reached(val_accuracy: float) -> None:
        points.append([round(time.perf_counter() - start, 2), round(val_accuracy, 6)])

    if way == "torch":
        in_torch(reached)
    elif way == "short":
        ours("cnn", reached, epochs=3, min_steps=0)
    else:
        ours(way, reached)
    return points


def ours(recipe: str, reached: Reached, **changes: int) -> None:
    """Search and train with a recipe, but for `changes` in its section `train`."""
    from k49.process import start_server

    start_server("k49.training.fit")
    from k49.search.search import search, search_config
    from k49.settings import Settings, validate
    from k49.stage import load_dataset
    from k49.training.fit import fit, training_config

    content = settings_of(recipe)
    content["train"] |= changes
    settings = validate(Settings, content, recipe)
    train, val = load_dataset("train"), load_dataset("val")
    with TemporaryDirectory() as results:
        winner = search(search_config(settings), train, val, Path(results)).winner
    config = training_config(settings, winner, len(train))
    fit(config, train, val, lambda figures: reached(figures["val_accuracy"]))


def in_torch(reached: Reached) -> None:
    """Train the recipe cnn, as somebody writes it who knows PyTorch well."""
    import torch

    from k49.search.tuner import middle
    from k49.settings import Settings, validate
    from k49.training.augment import elastic_basis
    from k49.training.fit import learning_rates, training_config

    settings = validate(Settings, settings_of("cnn"), "cnn")
    recipe, batch = settings.fit, settings.fit.batch_size
    (x, y), (val_x, val_y) = (
        (torch.from_numpy(np.array(images)), torch.from_numpy(np.array(labels)).argmax(1))
        for images, labels in (load(Path(), np.uint8, split) for split in ("train", "val"))
    )
    x, val_x = (images.permute(0, 3, 1, 2) for images in (x, val_x))
    config = training_config(settings, middle(settings.spaces["cnn"]), len(x))
    steps = config.epochs * (len(x) // batch)
    rates = iter(learning_rates(config, steps, np.arange(steps)).tolist())
    basis = torch.from_numpy(elastic_basis(settings.augment.elastic_grid, tuple(x.shape[2:])))
    torch.manual_seed(1)
    model = torch_cnn()
    for layer in model:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    call = torch.compile(model)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": others, "weight_decay": 0.0}],
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    for _ in range(config.epochs):
        model.train()
        for chosen in torch.randperm(len(x)).split(batch)[: len(x) // batch]:
            logits = call(distorted(x[chosen].float() / 255, settings.augment, basis))
            loss = torch.nn.functional.cross_entropy(
                logits, y[chosen], label_smoothing=recipe.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            rate = next(rates)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum(
                int((model(images.float() / 255).argmax(1) == labels).sum())
                for images, labels in zip(val_x.split(256), val_y.split(256), strict=True)
            )
        reached(right / len(val_x))


def distorted(images: Any, augment: Any, basis: Any) -> Any:
    """Do what `k49.training.augment` does to images (N, 1, H, W), by `grid_sample`."""
    import torch
    from torch.nn import functional

    n, (height, width) = len(images), images.shape[2:]

    def uniform(*shape: int) -> Any:
        return 2 * torch.rand(shape) - 1

    turn, slant = augment.rotation * uniform(n), augment.shear * uniform(n)
    tall, wide = 1 + augment.scale * uniform(2, n)
    right, down = augment.shift * uniform(2, n) * 2 / torch.tensor([[width], [height]])
    cos, sin = turn.cos(), turn.sin()
    rows = torch.stack([tall * sin + slant, wide * cos, down], 1)
    columns = torch.stack([tall * cos, wide * -sin, right], 1)
    grid = functional.affine_grid(torch.stack([columns, rows], 1), [n, 1, height, width], False)
    bend = augment.elastic * math.sqrt(3) * uniform(n, augment.elastic_grid**2, 2) * 2 / width
    bend = (basis @ bend).reshape(n, height, width, 2)
    return functional.grid_sample(images, grid + bend, align_corners=False)


def minutes(points: list[list[float]], level: float) -> float:
    """Return when validation first reached a level; infinity if it never did."""
    return next((seconds / 60 for seconds, accuracy in points if accuracy >= level), math.inf)


def table(rows: list[dict]) -> str:
    images = rows[0]["images"]
    size = "as K49 has" if images == K49 else f"K49 has {K49:,}"
    return (
        "\n".join(
            [
                "# Time to accuracy",
                "",
                "Minutes from the start of the search until so large a share of validation is read "
                f"correctly, with {images:,} train images ({size}) of the stand-in (drawn, not "
                "K49), by `python -m benchmarks.accuracy`; one training of each.",
                "",
                *places(rows),
                "",
                "![Validation accuracy over minutes, a line for each recipe](accuracy.png)",
                "",
                *lines(rows),
            ]
        )
        + "\n"
    )


def places(rows: list[dict]) -> list[str]:
    """Return the machine, or if there were several runs, a line for each with its ways."""
    ways: dict[str, list[str]] = {}
    for row in rows:
        ways.setdefault(row["where"], []).append(WAYS[row["way"]])
    if len(ways) == 1:
        return list(ways)
    return [f"- {'; '.join(names)}: {where}" for where, names in ways.items()]


def lines(rows: list[dict]) -> list[str]:
    levels = " | ".join(f"{level:.1%}".replace("%", " %") for level in LEVELS)
    text = [f"| | {levels} | at the end | minutes |", "|---" * (len(LEVELS) + 3) + "|"]
    for row in rows:
        at = (minutes(row["points"], level) for level in LEVELS)
        cells = [f"{m:.1f}" if math.isfinite(m) else "-" for m in at]
        seconds, last = row["points"][-1]
        cells += [f"{100 * last:.1f} %", f"{seconds / 60:.1f}"]
        text.append(f"| {WAYS[row['way']]} | {' | '.join(cells)} |")
    return text + ratio(rows)


def ratio(rows: list[dict]) -> list[str]:
    """Return the table's last line: PyTorch's minutes divided by ours; none without both."""
    points = {row["way"]: row["points"] for row in rows}
    if not {"cnn", "torch"} <= points.keys():
        return []
    pairs = [[minutes(points[way], level) for way in ("torch", "cnn")] for level in LEVELS]
    cells = [
        f"{theirs / ours:.2f}" if math.isfinite(theirs + ours) else "-" for theirs, ours in pairs
    ]
    whole = points["torch"][-1][0] / points["cnn"][-1][0]
    return [f"| PyTorch / cnn | {' | '.join(cells)} | | {whole:.2f} |"]


def chart(rows: list[dict]) -> None:
    from matplotlib.figure import Figure

    from k49.plots.figures import save

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        seconds, accuracy = np.array(row["points"]).T
        dashed = "--" if row["way"] == "torch" else "-"
        axes.plot(seconds / 60, accuracy, dashed, marker=".", label=WAYS[row["way"]])
    # logit: to halve the errors is as long a way at 90 % as at 98 %
    axes.set(xscale="log", yscale="logit", ylim=(0.8, 0.993))
    axes.set(xlabel="minutes since the search began", ylabel="validation accuracy, %")
    axes.set_xticks([0.5, 1, 2, 4, 8, 16, 32, 64], minor=False)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks((0.8, 0.9, *LEVELS), minor=False)
    axes.set_yticks([], minor=True)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    processor = processor_and_packages(rows[0]["where"]).partition("; ")[0]
    figure.suptitle(f"stand-in (drawn, not K49); {processor}", fontsize=9)
    save(figure, HERE / "accuracy.png")


if __name__ == "__main__":
    main()
