"""How long an epoch takes, our way and the others'.

`make bench` runs all of it; for a part:

    .venv-bench/bin/python -m benchmarks.epoch --rounds 1 --only ours notebook

Every way trains in a process of its own, one after the other, all of them once a round, so that
what else the machine does hits all alike. Writes benchmarks/epoch.json, .md and .png.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.ways import BATCH, UNITS, WAYS
from k49.io import atomic_write, read_yaml, write_json, write_text, write_yaml

HERE = Path(__file__).parent
ROOT = HERE.parent
K49 = 193_818  # images that an epoch of K49 has
RUNS = {
    "report": (
        *("ours", "notebook", "keras", "keras-jax"),
        *("torch-loader", "torch-loop", "torch-compile", "sklearn"),
    ),
    "mlp": ("ours", "ours-distorted", "keras", "keras-jax", "torch-loop", "torch-compile"),
    "cnn": (
        *("ours", "ours-distorted", "keras", "keras-jax"),
        *("torch-loop", "torch-last", "torch-compile", "torch-bf16"),
    ),
}
# Whose best way stands in the short table: of PyTorch's those that compute in float32
RIVALS = {
    "Keras `fit`": ("notebook", "keras"),
    "Keras on JAX": ("keras-jax",),
    "PyTorch": ("torch-loader", "torch-loop", "torch-last", "torch-compile"),
}
PACKAGES = ("tensorflow-cpu", "keras", "jax", "torch", "scikit-learn", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4, help="the first isn't counted")
    parser.add_argument("--scale", type=float, default=0.1, help="of the stand-in; 1 is K49's size")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--sgemm", action="store_true", help="only how fast NumPy multiplies")
    options = parser.parse_args()
    if options.sgemm:
        print(sgemm())
        return

    with TemporaryDirectory() as scratch:
        data = Path(scratch, "data")
        images = draw(data, options.scale)
        rows = []
        for number in range(1, options.rounds + 1):
            for recipe, name in [(r, n) for r, names in RUNS.items() for n in names]:
                if name in options.only:
                    row = {"recipe": recipe, "way": name, "round": number, "images": images}
                    rows.append({**row, **run(name, recipe, data, options.epochs)})
                    print(f"{number}/{options.rounds} {recipe} {name}: {rows[-1]}", flush=True)

    where = machine()
    publish("epoch", rows, table(rows, where))
    chart(rows, where)


def publish(name: str, rows: list[dict], text: str) -> None:
    """Write what was measured as JSON and as Markdown, and print the latter."""
    write_json(HERE / f"{name}.json", rows)
    write_text(HERE / f"{name}.md", text)
    print(text)


def draw(folder: Path, scale: float) -> int:
    folder.mkdir()
    params = read_yaml(ROOT / "params.yaml")
    params["standin"]["scale"] = scale
    write_yaml(folder / "params.yaml", params)
    for stage in ("fetch", "split"):
        command = [sys.executable, "-m", f"stages.{stage}"]
        subprocess.run(command, cwd=folder, env=environment(), check=True)
    return len(np.load(folder / "data/split/train_labels.npy", mmap_mode="r"))


def run(name: str, recipe: str, data: Path, epochs: int) -> dict:
    """One way in a process of its own: seconds of each epoch, the process's peak memory."""
    command = [sys.executable, str(HERE / "ways.py"), name, recipe, str(data), str(epochs)]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return {"failed": last[:200]}
    return {**json.loads(done.stdout.splitlines()[-1]), "process": time.perf_counter() - start}


def last_line(command: list[str], folder: Path) -> Any:
    """What a module of ours, run in `folder` in a process of its own, prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
    """Return this process's environment, with our modules, and without OPENBLAS_CORETYPE and such.

    It can keep NumPy from AVX-512: then the machine looks half as fast as it is.
    """
    folders = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    free = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    return {**free, "PYTHONPATH": os.pathsep.join(folders)}


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    cpu = [line for line in info.splitlines() if "model name" in line]
    flags = "AVX-512" if "avx512f" in info else "no AVX-512"
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    found = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # the rivals', outside of .venv-bench
            found.append(f"{name} {version(name)}")
    versions = ", ".join(found)
    speed = last_line(["benchmarks.epoch", "--sgemm"], ROOT)
    return (
        f"{len(cpu)} cores of {cpu[0].split(': ')[1].strip()} ({flags}), sgemm {speed:.0f} "
        f"GFLOP/s; {versions}; commit {commit}"
    )


def sgemm(size: int = 2048) -> float:
    """What the machine can multiply at most, by NumPy, in GFLOP/s."""
    a = np.random.default_rng(0).random((size, size), np.float32)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9


def summary(rows: list[dict], recipe: str) -> list[dict]:
    """Of each way: seconds for K49's images, median, least and most over the rounds; memory."""
    found = []
    for name in RUNS[recipe]:
        runs = [row for row in rows if (row["recipe"], row["way"]) == (recipe, name)]
        good = [row for row in runs if "seconds" in row]
        if good:
            each = [np.median(row["seconds"][1:]) / row["images"] * K49 for row in good]
            first = [row["seconds"][0] - np.median(row["seconds"][1:]) for row in good]
            found.append(
                {
                    "way": name,
                    "median": np.median(each),
                    "least": min(each),
                    "most": max(each),
                    "first": np.median(first),
                    "mib": np.median([row["peak_mib"] for row in good]),
                }
            )
    return found


def table(rows: list[dict], where: str) -> str:
    first = rows[0]
    lines = [
        "# An epoch",
        "",
        f"Seconds for {K49:,} images, as K49 has, on {first['images']:,} of the stand-in (drawn, "
        f"not K49); median and range of {max(row['round'] for row in rows)} interleaved rounds, by "
        "`make bench`.",
        "",
        where,
        "",
        "## Our time, divided by that of the best way of others",
        "",
        *ratios(rows),
    ]
    for recipe in RUNS:
        layers = "-".join(map(str, (784, *UNITS[recipe], 49)))
        lines += [
            "",
            f"## {recipe}: {layers}, batch {BATCH[recipe]}",
            "",
            "| way | seconds | range | ours / this | first epoch, beyond | peak MiB |",
            "|---|---|---|---|---|---|",
        ]
        found = summary(rows, recipe)
        ours = {each["way"]: each["median"] for each in found if each["way"].startswith("ours")}
        for each in found:
            mine = ours.get("ours-distorted" if "distorted" in each["way"] else "ours", np.nan)
            lines.append(
                f"| {WAYS[each['way']][0]} | {each['median']:.2f} | {each['least']:.2f} to "
                f"{each['most']:.2f} | {mine / each['median']:.2f} | {each['first']:.1f} s | "
                f"{each['mib']:.0f} |"
            )
        runs = [row for row in rows if row["recipe"] == recipe]
        failed = {row["way"]: row["failed"] for row in runs if "failed" in row}
        lines += [f"| {WAYS[way][0]} | failed: {why} | | | | |" for way, why in failed.items()]
    return "\n".join(lines) + "\n"


def ratios(rows: list[dict]) -> list[str]:
    """Lines of a table: our time divided by the best of each rival's ways; without distortions."""
    lines = [f"| recipe | {' | '.join(RIVALS)} |", "|---" * (len(RIVALS) + 1) + "|"]
    for recipe in RUNS:
        took = {each["way"]: each["median"] for each in summary(rows, recipe)}
        cells = []
        for ways in RIVALS.values():
            theirs = min((took[way] for way in ways if way in took), default=np.nan)
            cells.append(f"{took.get('ours', np.nan) / theirs:.2f}")
        lines.append(f"| {recipe} | {' | '.join(cells)} |")
    return lines


def chart(rows: list[dict], where: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 11), layout="constrained")
    axes = figure.subplots(len(RUNS), 1, height_ratios=[len(names) for names in RUNS.values()])
    for axis, recipe in zip(axes, RUNS, strict=True):
        found = summary(rows, recipe)[::-1]
        median = np.array([each["median"] for each in found])
        spread = [
            median - [each["least"] for each in found],
            np.array([each["most"] for each in found]) - median,
        ]
        colors = ["C0" if each["way"].startswith("ours") else "0.7" for each in found]
        names = [WAYS[each["way"]][0] for each in found]
        bars = axis.barh(names, median, xerr=spread, color=colors, ecolor="0.3", capsize=3)
        axis.bar_label(bars, fmt="%.1f", padding=6)
        axis.set_title(recipe)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.1)
    axes[-1].set_xlabel(
        f"seconds for an epoch of {K49:,} images (stand-in, not K49); less is better"
    )
    middle = where.index("; ")
    figure.suptitle(f"{where[:middle]}\n{where[middle + 2 :]}", fontsize=8)
    with atomic_write(HERE / "epoch.png") as tmp:
        figure.savefig(tmp, dpi=110)


if __name__ == "__main__":
    main()
