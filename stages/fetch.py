"""fetch: the five files of the dataset, or of the stand-in, into data/raw/."""

from k49.data.fetch import fetch
from k49.settings import Settings
from k49.stage import DOWNLOADS, RAW, run_stage


def main(settings: Settings) -> None:
    """Fetch from `data.source`."""
    print(fetch(settings.data, settings.standin, RAW, DOWNLOADS))


if __name__ == "__main__":
    run_stage(main)
