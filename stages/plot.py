"""plot: pictures of the curves, the confusion, the classes, the mistakes and the data."""

from k49.data.arrays import File, read_whole
from k49.io import read_json, read_npy
from k49.plots import figures
from k49.plots.trials import importance, parallel, trials
from k49.settings import Settings
from k49.stage import (
    CURVES,
    METRICS,
    PLOTS,
    PREDICTIONS,
    VARIATIONS,
    load_dataset,
    load_info,
    publish,
    run_stage,
)


def main(settings: Settings) -> None:
    """Draw every picture from what the other stages left."""
    info = load_info()
    dataset, classes = info.name, info.classes
    predictions = File(PREDICTIONS, str(PREDICTIONS))
    probabilities, labels = (read_whole(predictions, key) for key in ("probabilities", "labels"))
    kept_epoch = read_json(METRICS / "train.json", "kept_epoch")["kept_epoch"]
    test_images = load_dataset("test").images
    searched = read_json(PLOTS / "trials.json")

    pictures = {
        "curves": figures.curves(read_json(CURVES), kept_epoch, dataset),
        "confusion": figures.confusion(read_json(PLOTS / "confusion.json"), classes, dataset),
        "per_class": figures.per_class(read_json(PLOTS / "per_class.json"), dataset),
        "mistakes": figures.mistakes(test_images, probabilities, labels, classes, dataset),
        "calibration": figures.calibration(
            read_json(PLOTS / "reliability.json"), read_json(PLOTS / "coverage.json"), dataset
        ),
        "augmentation": figures.augmentation(read_npy(VARIATIONS), dataset),
        "data": figures.data(load_dataset("train"), classes, dataset),
        "trials": trials(searched, dataset),
    }

    publish(PLOTS / "importance.json", importance(searched))
    publish(PLOTS / "parallel.json", parallel(searched))
    for name, figure in pictures.items():
        figures.save(figure, PLOTS / f"{name}.png")
        print(f"wrote {PLOTS / name}.png")


if __name__ == "__main__":
    run_stage(main)
