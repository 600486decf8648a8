"""Where the time of an epoch goes, by kind of operation, as TensorFlow's profiler sees it.

    python -m benchmarks.breakdown [--scale 0.1]

The networks of `benchmarks.epoch`, on the stand-in. Writes benchmarks/breakdown.json and .md.
"""

import argparse
import json
import os
import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.epoch import draw, last_line, machine, publish
from benchmarks.ways import training

RUNS = {  # network, and whether images are distorted
    "report": ("report", False),
    "mlp": ("mlp", False),
    "mlp, distorted": ("mlp", True),
    "cnn": ("cnn", False),
    "cnn, distorted": ("cnn", True),
}
# What is in the name of each kind of operation; the first that is found counts. Dropout stands with
# what XLA makes one loop with it.
KINDS = {
    "distortion": "distort/",
    "optimizer": "adam_w/",
    "convolutions": "onvolution",
    "matrix products": "MatMul",
    "batch normalization": "normalization|FusedBatchNorm",
    "bias, activation, dropout": "dropout/|hidden|activation",
    "pooling": "/pool|/mean",
    "loss": "softmax|logits|ArgMax",
    "the rest": "",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=0.1, help="of the stand-in")
    parser.add_argument("--run", choices=RUNS, help="this one, in the folder at hand")
    options = parser.parse_args()
    if options.run:
        print(json.dumps(profiled(*RUNS[options.run])))
        return

    with TemporaryDirectory() as scratch:
        data = Path(scratch, "data")
        images = draw(data, options.scale)
        rows = [
            {"run": name, "images": images}
            | last_line(["benchmarks.breakdown", "--run", name], data)
            for name in RUNS
        ]
    publish("breakdown", rows, table(rows))


def profiled(recipe: str, distorted: bool) -> dict[str, float]:
    """Microseconds an image of each kind of operation, in the second epoch of a training."""
    with TemporaryDirectory() as scratch:
        # read when TensorFlow is imported; what a cache has isn't compiled, and not dumped
        os.environ["TF_XLA_FLAGS"] = ""
        config, train, val = training(recipe, Path.cwd(), 2, distorted)

        import tensorflow as tf

        from k49.training.fit import fit

        # which k49.training has taken away, and XLA reads when it first compiles
        os.environ["XLA_FLAGS"] = f"--xla_dump_to={scratch} --xla_dump_hlo_as_text"
        ends = iter(
            [tf.profiler.experimental.start, lambda folder: tf.profiler.experimental.stop()]
        )
        fit(config, train, val, lambda figures: next(ends)(scratch))
        programs = [
            path.read_text() for path in Path(scratch).glob("*train_block*optimizations.txt")
        ]
        (trace,) = Path(scratch).rglob("*.xplane.pb")
        spent = durations(trace.read_bytes(), programs)
    return {kind: spent[kind] / len(train) for kind in KINDS}


def durations(trace: bytes, programs: list[str]) -> Counter[str]:
    """Microseconds of each kind of operation.

    Args:
        trace: what the profiler wrote.
        programs: as XLA compiled them, if it did: they say which operation of TensorFlow's an
            instruction comes from.
    """
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    origin = {}
    for line in "\n".join(programs).splitlines():
        # but for those that consist of others
        if found := re.match(r"\s+(?:ROOT )?%(?!while|call|cond)(\S+) = ", line):
            operation = re.search('op_name="([^"]+)"', line)
            origin[found[1]] = operation[1] if operation else "not TensorFlow's"
    spent: Counter[str] = Counter()
    for plane in XSpace.FromString(trace).planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            operation = origin.get(name, name if re.fullmatch("while/.*:.*", name) else None)
            if operation:
                spent[kind_of(operation)] += event.duration_ps / 1e6
    return spent


def kind_of(operation: str) -> str:
    return next(kind for kind, pattern in KINDS.items() if re.search(pattern, operation))


def table(rows: list[dict]) -> str:
    lines = [
        "# Where an epoch goes",
        "",
        "Shares of the time that the operations of an epoch take, in percent, on "
        f"{rows[0]['images']:,} images of the stand-in (drawn, not K49), by "
        "`python -m benchmarks.breakdown`. Networks and batches are those of "
        "[epoch.md](epoch.md). What is one loop or one kernel counts as one: dropout with bias and "
        "activation, and in the cnn batch normalization with activation, but for its gradient. Two "
        "operations of a cnn may run at once: their sum is more than the time of the epoch.",
        "",
        machine(),
        "",
        *shares(rows),
        "| microseconds an image | " + " | ".join(f"{total(row):.1f}" for row in rows) + " |",
    ]
    return "\n".join(lines) + "\n"


def shares(rows: list[dict]) -> list[str]:
    """Lines of a table: of each run, what share each kind of operation has, in percent."""
    lines = ["| | " + " | ".join(row["run"] for row in rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for kind in KINDS:
        cells = [f"{100 * row[kind] / total(row):.1f}" for row in rows]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def total(row: dict) -> float:
    return sum(row[kind] for kind in KINDS)


if __name__ == "__main__":
    main()
