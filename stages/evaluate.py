"""evaluate: judge the network on test; metrics and plot data into git, predictions cached."""

import numpy as np

from k49 import evaluate, model
from k49.files import read_json, whole, write_json
from k49.pipeline import METRICS, MODEL, PLOTS, PREDICTIONS, load_part, run_stage
from k49.settings import Settings


def main(settings: Settings) -> None:
    """Predict test, then write predictions, metrics, confusion and the figures of each class."""
    images, one_hot = load_part("test")
    labels = one_hot.argmax(1).astype(np.uint8)
    probabilities = model.probabilities(model.load(MODEL), images)
    with whole(PREDICTIONS) as beside:
        np.savez(beside, probabilities=probabilities, labels=labels)

    train = read_json(METRICS / "train.json")
    test = evaluate.metrics(probabilities, labels, settings.evaluate.resamples, settings.seed)
    gap = round(train["val"]["accuracy"] - test["accuracy"], 6)
    write_json(METRICS / "test.json", {"dataset": train["dataset"], **test, "val_minus_test": gap})
    for name, judge in {"confusion": evaluate.confusion, "per_class": evaluate.per_class}.items():
        rows = judge(probabilities, labels)
        write_json(PLOTS / f"{name}.json", [{"dataset": train["dataset"], **row} for row in rows])
    shares = ("accuracy", "balanced_accuracy", "macro_f1", "top_3_accuracy")
    print(f"test, {train['dataset']}:")
    for name in shares:
        low, high = test[f"{name}_95"]
        print(f"  {name:18} {test[name]:.4f}  (95 % interval {low:.4f} to {high:.4f})")
    print(f"  {'val minus test':18} {gap:.4f}")


if __name__ == "__main__":
    run_stage(main)
