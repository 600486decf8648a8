"""fetch: the five files of the dataset, or of the stand-in, into data/raw/."""

from k49.fetch import fetch
from k49.pipeline import DOWNLOADS, RAW, run_stage
from k49.settings import Settings


def main(settings: Settings) -> None:
    """Fetch from `data.source`."""
    fetch(settings.data, settings.standin, settings.seed, RAW, DOWNLOADS)


if __name__ == "__main__":
    run_stage(main)
