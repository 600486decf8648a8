"""evaluate: the model on test; metrics and plot data into git, predictions cached."""

import numpy as np

from k49.evaluation import predictions
from k49.evaluation.card import model_card
from k49.evaluation.metrics import confusion, evaluate, per_class
from k49.evaluation.probabilities import ModelOutput, coverages, reliabilities
from k49.io import atomic_write, read_json, write_text
from k49.model_file import read_provenance
from k49.progress import timed
from k49.settings import Settings
from k49.stage import (
    CARD,
    CLASSES,
    METRICS,
    MODEL,
    PLOTS,
    PREDICTIONS,
    load_dataset,
    load_info,
    publish,
    run_stage,
)
from k49.tta import sharpen


def main(settings: Settings) -> None:
    """Predict test, then write predictions, metrics, confusion and the figures of each class."""
    with timed("importing"):  # Keras takes seconds: settings are checked before
        from k49.calibration.detector import outlier_scores
        from k49.training.model import load_model, predict_plain_and_averaged

    val, test, model = load_dataset("val"), load_dataset("test"), load_model(MODEL)
    info, labels = load_info(), test.labels.argmax(1).astype(np.uint8)
    data = read_json(METRICS / "data.json", "dataset")
    train = read_json(METRICS / "train.json", "train_accuracy", "val_accuracy", "overfitting_gap")
    provenance, detector = read_provenance(MODEL)
    calibration, shifts = provenance.calibration, settings.evaluate.shifts

    with timed("predicting"):
        (of_val, averaged_of_val), (probabilities, averaged) = (
            predict_plain_and_averaged(model, split.images, shifts, calibration.exponent)
            for split in (val, test)
        )
        output = ModelOutput(
            probabilities,
            averaged,
            uncalibrated=sharpen(probabilities, 1 / calibration.inverse_temperature),
            certain=calibration.averaged_certain if shifts else calibration.certain,
            outliers=outlier_scores(model, detector, test.images) > calibration.outlier,
        )
    with timed("evaluating"):
        result = evaluate(output, labels, train["val_accuracy"], settings.evaluate)

    with atomic_write(PREDICTIONS) as tmp:
        np.savez(tmp, probabilities=probabilities, labels=labels)
    kept = {
        "val": predictions.of_split(val, of_val, averaged_of_val, info.classes, with_scores=False),
        "test": predictions.of_split(test, probabilities, averaged, info.classes),
    }
    for name, of_split in kept.items():
        predictions.save(of_split, CLASSES[name])
    publish(METRICS / "test.json", result.metrics)
    publish(PLOTS / "confusion.json", confusion(probabilities, labels, info.classes))
    publish(PLOTS / "per_class.json", per_class(probabilities, labels, info.classes))
    publish(PLOTS / "reliability.json", reliabilities(output, labels))
    publish(PLOTS / "coverage.json", coverages(output, labels))
    write_text(CARD, model_card(provenance, data, train, result.metrics))
    print(f"test, {info.name}:\n{result}")


if __name__ == "__main__":
    run_stage(main)
