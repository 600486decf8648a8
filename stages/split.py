"""split: validation off train; images and one-hot labels into data/split/ as mappable arrays."""

from k49.data import npz
from k49.data.published import dataset_name
from k49.data.split import describe, split_dataset
from k49.files import write_json
from k49.profiling import timed
from k49.settings import Settings
from k49.stage import METRICS, RAW, run_stage, save_split


def main(settings: Settings) -> None:
    """Split the raw arrays, and describe and name what came out."""
    train, test = npz.read_split(RAW, "train"), npz.read_split(RAW, "test")

    splits = split_dataset(train, test, settings.split)

    with timed("writing"):
        for name, subset in splits.items():
            save_split(name, subset)
    summary = {"dataset": dataset_name(settings.data.source, RAW), **describe(splits)}
    write_json(METRICS / "data.json", summary)
    print(f"{summary['dataset']}: {summary['images']}")


if __name__ == "__main__":
    run_stage(main)
