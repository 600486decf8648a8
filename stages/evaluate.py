"""evaluate: the model on test; metrics and plot data into git, predictions cached."""

import numpy as np

from k49.evaluation import predictions
from k49.evaluation.card import model_card
from k49.evaluation.metrics import confusion, evaluate, per_class
from k49.files import atomic_write, write_text
from k49.outside import read_json
from k49.profiling import timed
from k49.provenance import read_provenance
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


def main(settings: Settings) -> None:
    """Predict test, then write predictions, metrics, confusion and the figures of each class."""
    with timed("importing"):  # Keras takes seconds: settings are checked before
        from k49.training.model import load_model, predict_proba

    val, test, model = load_dataset("val"), load_dataset("test"), load_model(MODEL)
    info, labels = load_info(), test.labels.argmax(1).astype(np.uint8)
    train = read_json(METRICS / "train.json", "train_accuracy", "val_accuracy", "overfitting_gap")
    shifts = settings.evaluate.shifts

    with timed("predicting"):
        val_classes = predict_proba(model, val.images).argmax(1)
        probabilities = predict_proba(model, test.images)
        averaged = predict_proba(model, test.images, shifts) if shifts else None
    with timed("evaluating"):
        result = evaluate(probabilities, averaged, labels, train["val_accuracy"], settings.evaluate)

    with atomic_write(PREDICTIONS) as tmp:
        np.savez(tmp, probabilities=probabilities, labels=labels)
    for name, split, read in (("val", val, val_classes), ("test", test, probabilities.argmax(1))):
        predictions.save(predictions.of_split(split, read, info.classes), CLASSES[name])
    publish(METRICS / "test.json", result.metrics)
    publish(PLOTS / "confusion.json", confusion(probabilities, labels, info.classes))
    publish(PLOTS / "per_class.json", per_class(probabilities, labels, info.classes))
    write_text(CARD, model_card(read_provenance(MODEL), train, result.metrics))
    print(f"test, {info.name}:\n{result}")


if __name__ == "__main__":
    run_stage(main)
