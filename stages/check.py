"""check: params.yaml as a whole, before any other stage runs and DVC takes its outputs away."""

from k49.settings import Settings, without_effect
from k49.stage import run_stage


def main(settings: Settings) -> None:
    """Name the settings that change nothing; `run_stage` has refused the bad ones."""
    for line in without_effect(settings):
        print(f"note: {line}")


if __name__ == "__main__":
    run_stage(main)
