"""split: validation off train; images and one-hot labels into data/split/ as mappable arrays."""

from k49.files import write_json
from k49.pipeline import METRICS, RAW, SPLIT, run_stage
from k49.settings import Settings
from k49.split import split_dataset


def main(settings: Settings) -> None:
    """Split the raw arrays and describe what came out."""
    summary = split_dataset(RAW, SPLIT, settings.split.validation_share, settings.seed)
    summary = {"dataset": settings.data.name, **summary}
    write_json(METRICS / "data.json", summary)
    print(f"{summary['dataset']}: {summary['images']}")


if __name__ == "__main__":
    run_stage(main)
