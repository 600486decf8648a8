"""fetch: the dataset, or the stand-in, into data/raw/: checked, and in one form."""

from k49.data.fetch import fetch
from k49.settings import Settings
from k49.stage import DESCRIPTIONS, DOWNLOADS, RAW, run_stage


def main(settings: Settings) -> None:
    """Fetch from `data.source`."""
    print(fetch(settings.data, settings.standin, RAW, DOWNLOADS, DESCRIPTIONS))


if __name__ == "__main__":
    run_stage(main)
