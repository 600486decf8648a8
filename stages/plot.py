"""plot: pictures of calibration, trials, mistakes, data and augmentation; charts are DVC's."""

from k49.data.arrays import File, read_whole
from k49.io import read_json, read_npy
from k49.plots import figures
from k49.plots.trials import trials
from k49.settings import Settings
from k49.stage import PLOTS, PREDICTIONS, VARIATIONS, load_dataset, load_info, run_stage


def main(settings: Settings) -> None:
    """Draw every picture from the outputs of other stages."""
    info = load_info()
    dataset, classes = info.name, info.classes
    predictions = File(PREDICTIONS, str(PREDICTIONS))
    probabilities, labels = (read_whole(predictions, key) for key in ("probabilities", "labels"))
    test_images = load_dataset("test").images

    pictures = {
        "mistakes": figures.mistakes(test_images, probabilities, labels, classes, dataset),
        "calibration": figures.calibration(
            read_json(PLOTS / "reliability.json"), read_json(PLOTS / "coverage.json"), dataset
        ),
        "augmentation": figures.augmentation(read_npy(VARIATIONS), dataset),
        "data": figures.data(load_dataset("train"), classes, dataset),
        "trials": trials(read_json(PLOTS / "trials.json"), dataset),
    }

    for name, figure in pictures.items():
        figures.save(figure, PLOTS / f"{name}.png")
        print(f"wrote {PLOTS / name}.png")


if __name__ == "__main__":
    run_stage(main)
