"""What each ingredient of the default recipe is worth: each off by itself, several seeds.

    python -m benchmarks.ablation ../shared/kuzushiji-real --seeds 1 2 3

Takes a folder with the five files of the dataset, and the settings of params.yaml. The network is
the same for all (NETWORK below; no search), the split and the training vary with the seed. Writes
benchmarks/ablation.md and benchmarks/ablation.json. Nothing is chosen by these test figures: the
recipe was chosen by validation accuracy.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from k49 import fetch, model, pipeline
from k49.files import whole, write_json
from k49.settings import Hyperparameters, Settings
from k49.split import split_dataset
from k49.train import train

NETWORK = Hyperparameters(
    units=[512, 512, 512],
    activation="relu",
    initializer="he_uniform",
    learning_rate=0.003,
    weight_decay=None,
)
VARIANTS = {
    "default recipe": {},
    "no augmentation": {"augment": {"enabled": False}},
    "no elastic displacement": {"augment": {"elastic": 0.0}},
    "no rotation, scale, shear": {"augment": {"rotation": 0.0, "scale": 0.0, "shear": 0.0}},
    "no shift": {"augment": {"shift": 0.0}},
    "no batch normalization": {"fit": {"batch_normalization": False}},
    "constant learning rate": {"fit": {"schedule": "constant"}},
    "no label smoothing": {"fit": {"label_smoothing": 0.0}},
    "no weight decay": {"fit": {"weight_decay": 0.0}},
}


def main() -> None:
    """Train every variant with every seed and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    settings = pipeline.load_settings()
    rows = []
    for name, changes in VARIANTS.items():
        figures = [measure(arguments.folder, vary(settings, changes), s) for s in arguments.seeds]
        rows.append({"variant": name, **{key: [f[key] for f in figures] for key in figures[0]}})
        print(as_markdown(rows[-1]), flush=True)
    write_json(Path("benchmarks/ablation.json"), rows)
    header = [
        f"Accuracy on `{arguments.folder}`, mean ± standard deviation of {len(arguments.seeds)} "
        f"seeds, {settings.train.epochs} epochs; made by `python -m benchmarks.ablation`.",
        "",
        "| variant | validation | test | train minus validation |",
        "|---|---|---|---|",
    ]
    with whole(Path("benchmarks/ablation.md")) as beside:
        beside.write_text("\n".join([*header, *map(as_markdown, rows)]) + "\n", encoding="utf-8")


def vary(settings: Settings, changes: dict[str, dict]) -> Settings:
    """The settings with some values of some sections replaced."""
    sections = {
        name: getattr(settings, name).model_copy(update=update) for name, update in changes.items()
    }
    return settings.model_copy(update=sections)


def measure(folder: Path, settings: Settings, seed: int) -> dict[str, float]:
    """Split and train under one seed; accuracies as shares."""
    with TemporaryDirectory() as scratch:
        raw, split = Path(scratch, "raw"), Path(scratch, "split")
        fetch.copy_folder(folder, raw)
        split_dataset(raw, split, settings.split.validation_share, seed)
        arrays = {part: pipeline.load_part(part, split) for part in ("train", "val", "test")}
        network, metrics = train(
            NETWORK,
            settings.train,
            settings.fit,
            settings.augment,
            arrays["train"],
            arrays["val"],
            seed,
            on_epoch=lambda figures: None,
        )
        images, labels = arrays["test"]
        predicted = model.probabilities(network, images).argmax(1)
    return {
        "val": metrics["val"]["accuracy"],
        "test": round(float(np.mean(predicted == labels.argmax(1))), 6),
        "overfitting_gap": metrics["overfitting_gap"],
    }


def as_markdown(row: dict) -> str:
    """One line of the table, in percent."""
    cells = [
        f"{np.mean(row[key]):.2%} ± {np.std(row[key]) * 100:.2f}"
        for key in ("val", "test", "overfitting_gap")
    ]
    return f"| {row['variant']} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
