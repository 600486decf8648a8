"""split: validation off train; images and one-hot labels into data/split/ as mappable arrays."""

from k49.data import corrections, raw
from k49.data.split import describe, split_dataset
from k49.progress import timed
from k49.settings import Settings
from k49.stage import RAW, run_stage, save_info, save_split


def main(settings: Settings) -> None:
    """Split the raw arrays, correct labels, and describe and name what came out."""
    train, test, info = raw.read(RAW, "train"), raw.read(RAW, "test"), raw.read_info(RAW)
    changes = corrections.read(settings.data, info.classes)

    splits = split_dataset(train, test, info.classes, settings.split)
    splits, corrected = corrections.correct(splits, changes, info.classes)
    info = corrections.named(info, corrected)
    counts = describe(splits)

    with timed("writing"):
        for name, subset in splits.items():
            save_split(name, subset)
    save_info(info, counts | corrected)
    for note in changes.notes():
        print(f"note: {note}")
    print(f"{info.name}: {counts['images']}")


if __name__ == "__main__":
    run_stage(main)
