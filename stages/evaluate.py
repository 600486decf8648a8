"""evaluate: the model on test; metrics and plot data into git, predictions cached."""

import numpy as np

from k49.evaluation import predictions
from k49.evaluation.card import model_card
from k49.evaluation.metrics import evaluate
from k49.files import atomic_write, read_json, write_text
from k49.profiling import timed
from k49.settings import Settings
from k49.stage import (
    CARD,
    CLASSES,
    METRICS,
    MODEL,
    PLOTS,
    PREDICTIONS,
    load_dataset,
    publish,
    read_dataset_name,
    run_stage,
)


def main(settings: Settings) -> None:
    """Predict test, then write predictions, metrics, confusion and the figures of each class."""
    with timed("importing"):  # Keras takes seconds: settings are checked before
        from k49.training.model import load_model, predict_proba, read_provenance

    val, test, model = load_dataset("val"), load_dataset("test"), load_model(MODEL)
    labels = test.labels.argmax(1).astype(np.uint8)
    train = read_json(METRICS / "train.json")
    shifts = settings.evaluate.shifts

    with timed("predicting"):
        val_classes = predict_proba(model, val.images).argmax(1)
        probabilities = predict_proba(model, test.images)
        averaged = predict_proba(model, test.images, shifts) if shifts else None
    with timed("evaluating"):
        result = evaluate(probabilities, averaged, labels, train["val_accuracy"], settings.evaluate)

    with atomic_write(PREDICTIONS) as tmp:
        np.savez(tmp, probabilities=probabilities, labels=labels)
    predictions.save(predictions.of_split(val, val_classes), CLASSES["val"])
    predictions.save(predictions.of_split(test, probabilities.argmax(1)), CLASSES["test"])
    publish(METRICS / "test.json", result.metrics)
    publish(PLOTS / "confusion.json", result.confusion)
    publish(PLOTS / "per_class.json", result.per_class)
    write_text(CARD, model_card(read_provenance(MODEL), train, result.metrics))
    print(f"test, {read_dataset_name()}:\n{result}")


if __name__ == "__main__":
    run_stage(main)
