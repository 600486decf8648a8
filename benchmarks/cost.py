"""What each stage costs as the data grows: seconds and memory, from 1/16 of K49 to four times K49.

    python -m benchmarks.cost [--scales 0.0625 0.25 1 4]

Runs the stages on the stand-in, with two trials of one epoch and a training of two, so that it
takes minutes. Writes benchmarks/cost.json and .md.
"""

import argparse
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.epoch import ROOT, environment, machine, publish
from k49.io import read_json, read_yaml, write_yaml

STAGES = ("fetch", "split", "tune", "train", "calibrate", "evaluate", "plot")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", type=float, nargs="+", default=[1 / 16, 1 / 4, 1, 4])
    options = parser.parse_args()
    rows = []
    for scale in options.scales:
        with TemporaryDirectory() as scratch:
            rows += stages(Path(scratch), scale)
    publish("cost", rows, table(rows))


def stages(folder: Path, scale: float) -> list[dict]:
    params = read_yaml(ROOT / "params.yaml")
    params["standin"]["scale"] = scale
    params["tune"] |= {"trials": 2, "epochs": 1}
    params["train"] |= {"epochs": 2, "min_steps": 0}
    write_yaml(folder / "params.yaml", params)
    rows = []
    for stage in STAGES:
        row = {"stage": stage, "scale": scale, **run(stage, folder)}
        rows.append(row)
        print(row, flush=True)
    images = sum(read_json(folder / "metrics/data.json")["images"].values())
    return [{**row, "images": images} for row in rows]


def run(stage: str, folder: Path) -> dict:
    """Seconds, the stage's own account of them, and the most memory of any of its processes.

    `peak` is all that is resident, MiB; `own` of it is what isn't mapped from files.
    """
    start = time.perf_counter()
    command = [sys.executable, "-m", f"stages.{stage}"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    )
    own = [0]
    watch = threading.Thread(target=watch_memory, args=(process, own), daemon=True)
    watch.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{stage} failed: {output}")
    watch.join()
    last = output.splitlines()[-1]
    peak = int(re.search(r"peak memory (\d+) MiB", last)[1])
    return {"seconds": round(seconds, 1), "peak": peak, "own": own[0], "where": last}


def watch_memory(process: subprocess.Popen, own: list[int]) -> None:
    """Note the most anonymous memory that the process or one of its descendants has, MiB."""
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):  # one has ended meanwhile
            for each in [watched, *watched.children(recursive=True)]:
                memory = each.memory_info()
                own[0] = max(own[0], (memory.rss - memory.shared) // 2**20)
        time.sleep(0.1)


def table(rows: list[dict]) -> str:
    sizes = {row["scale"]: row["images"] for row in rows}
    lines = [
        "# What the data cost",
        "",
        "Stand-in (drawn, not K49); two trials of one epoch, two epochs of training, by "
        "`python -m benchmarks.cost`. Seconds of the whole process / most memory resident in one "
        "process, MiB / of it what is not mapped from files.",
        "",
        machine(),
        "",
        "| stage | " + " | ".join(f"{n:,} images" for n in sizes.values()) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for stage in STAGES:
        cells = [
            f"{row['seconds']} s / {row['peak']} / {row['own']}"
            for row in rows
            if row["stage"] == stage
        ]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
