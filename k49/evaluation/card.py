"""The model's card: what it is, what it learnt, how well it reads; for Hugging Face and for people.

The head is Hugging Face's metadata (huggingface.co/docs/hub/model-cards). All of it comes from the
model file and the metrics.
"""

import re
from typing import Any

from k49.data import K49_NAME, NUM_CLASSES, STANDIN_NAME
from k49.errors import K49Error
from k49.files import yaml_text
from k49.settings import Provenance

NAMES = {
    "test_accuracy": "accuracy",
    "test_balanced_accuracy": "balanced accuracy",
    "test_macro_f1": "macro F1",
    "test_top_3_accuracy": "top-3 accuracy",
    "test_tta_accuracy": "accuracy, averaged over shifts",
    "test_tta_balanced_accuracy": "balanced accuracy, averaged over shifts",
}
TYPES = {"test_accuracy": "accuracy", "test_macro_f1": "f1"}  # Hugging Face's names of metrics
LICENCES = {
    K49_NAME: (
        '"KMNIST Dataset" (created by CODH), adapted from "Kuzushiji Dataset" (created by NIJL and '
        "others), doi:10.20676/00000341, CC BY-SA 4.0"
    ),
    STANDIN_NAME: "strokes of KanjiVG (Ulrich Apel, CC BY-SA 3.0)",
}
WARNING = """
**Trained on a stand-in that this project draws: it reads no real Kuzushiji, and its figures say
nothing about K49.**
"""


def model_card(provenance: Provenance | None, train: dict, test: dict) -> str:
    """Write the card as Markdown with a YAML head.

    Args:
        provenance: what the model file says of its training.
        train: the content of `metrics/train.json`.
        test: that of `metrics/test.json`.

    Raises:
        K49Error: the model file says nothing.
    """
    if provenance is None:
        raise K49Error("the model file doesn't say how it was trained; `dvc repro -f train` does")
    config, learnt = provenance.training, provenance.training.hyperparameters
    licence = LICENCES.get(provenance.dataset)
    return f"""---
{yaml_text(metadata(provenance, test)).strip()}
---

# k49: reads single Kuzushiji
{WARNING if provenance.dataset == STANDIN_NAME else ""}
A network that tells the {NUM_CLASSES} classes of Kuzushiji-49 apart, cursive characters of old
Japanese books. Stage `evaluate` of the project k49 writes this card from the model file and the
metrics.

- **Takes** uint8 images (N, 28, 28, 1), light ink on black, 0 to 255; scaling is part of the model.
- **Returns** probabilities (N, {NUM_CLASSES}), in the order of `k49_classmap.csv`.
- **Use**: `keras.saving.load_model("model.keras")`; or `k49 predict picture.png`, which cuts
  characters out of pictures{averaging(provenance.shifts)}.

## Training

- Data: {provenance.dataset}{f"; {licence}" if licence else ""}.
- Network: {learnt.network} of {learnt.units}, {learnt.activation}, {learnt.initializer}.
- Learning rate {learnt.learning_rate:.6g}; {train["epochs"]} epochs,
  batches of {config.fit.batch_size}; seed {config.seed}.
- Versions: {train["versions"]}.

## Evaluation

On test of {provenance.dataset}; 95 % intervals are those of drawing other test images.

{table(test)}

Train accuracy {train["train_accuracy"]:.4f}, validation accuracy {train["val_accuracy"]:.4f},
overfitting gap {train["overfitting_gap"]:.4f}. Validation chose the hyperparameters, test nothing.

## Limits

One character an image, of these {NUM_CLASSES} classes only: whatever it is shown, it names one of
them. Hands and books that training never saw are read less well.
"""


def metadata(provenance: Provenance, test: dict) -> dict[str, Any]:
    """Return the card's head, with a model-index."""
    slug = re.sub("[^a-z0-9]+", "-", provenance.dataset.lower()).strip("-")
    metrics = [
        {"type": TYPES.get(key, key.removeprefix("test_")), "name": name, "value": test[key]}
        for key, name in NAMES.items()
        if key in test
    ]
    return {
        "language": "ja",
        "license": "apache-2.0",
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["kuzushiji", "image-classification", "keras"],
        "datasets": [slug],
        "metrics": sorted(set(TYPES.values())),
        "model-index": [
            {
                "name": "k49",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": provenance.dataset, "type": slug, "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def averaging(shifts: int) -> str:
    """Say that `k49 predict` averages over shifts, if it does."""
    return f" and averages over copies of each, moved by up to {shifts} pixel(s)" if shifts else ""


def table(test: dict) -> str:
    """Format metrics of test with their intervals as Markdown."""
    rows = [
        f"| {name} | {test[key]:.4f} | {test[f'{key}_low']:.4f} to {test[f'{key}_high']:.4f} |"
        for key, name in NAMES.items()
        if key in test
    ]
    return "\n".join(["| metric | value | 95 % interval |", "|---|---|---|", *rows])
