"""check: params.yaml as a whole, before any other stage runs and DVC takes its outputs away."""

from k49.io import write_text
from k49.settings import Settings, ineffective_settings
from k49.stage import CHECKED, count_train_images, run_stage, touch_tracked_files


def main(settings: Settings) -> None:
    """Name the settings that change nothing; `run_stage` has refused the bad ones."""
    for line in ineffective_settings(settings, count_train_images()):
        print(f"note: {line}")
    write_text(CHECKED, "params.yaml was accepted\n")


if __name__ == "__main__":
    touch_tracked_files()  # first of all: also where settings are refused, or Ctrl-C stops this
    run_stage(main)
