"""The model card: network, training, evaluation, limits; for Hugging Face and for people.

The head is Hugging Face's metadata (huggingface.co/docs/hub/model-cards). All of it comes from the
model file and the metrics.
"""

import re
from typing import Any

from k49.evaluation.metrics import METRIC_NAMES
from k49.io import yaml_text
from k49.settings import Provenance
from k49.text import in_markdown

TYPES = {"test_accuracy": "accuracy", "test_macro_f1": "f1"}  # Hugging Face's names of metrics


def model_card(provenance: Provenance, data: dict, train: dict, test: dict) -> str:
    """Write the card as Markdown with a YAML head.

    Args:
        provenance: of the model file.
        data: the content of `metrics/data.json`.
        train: the content of `metrics/train.json`.
        test: that of `metrics/test.json`.
    """
    config, learnt = provenance.training, provenance.training.hyperparameters
    dataset, name = provenance.dataset, in_markdown(provenance.dataset.name)
    height, width = dataset.image_size
    warning = f"\n**Warning: {in_markdown(dataset.warning)}.**\n" if dataset.warning else ""
    script = ", cursive characters of old Japanese books" if dataset.language == "ja" else ""
    cutting = ", which cuts characters out of pictures" if dataset.normalize == "ink" else ""
    return f"""---
{yaml_text(metadata(provenance, test)).strip()}
---

# k49: reads {name}
{warning}
A network that tells the {len(dataset.classes)} classes of {name} apart{script}.
Stage `evaluate` of the project k49 writes this card from the model file and the metrics.

- **Takes** uint8 images (N, {height}, {width}, 1), light ink on black, 0 to 255; scaling is part of
  the model.
- **Returns** probabilities (N, {len(dataset.classes)}), in this order:
  {in_markdown("  ".join(dataset.classes))}
- **Use**: `k49 predict picture.png`{cutting}{averaging(provenance.shifts)};
  in a browser `reader.html`, a page that needs no network; over HTTP `k49 serve`; in a program
  `onnxruntime.InferenceSession("model.onnx").run(None, {{"image": images}})`, which also says how
  unlike the training data each image is, or `keras.saving.load_model("model.keras")`. Stage
  `export` writes `reader.html` and `model.onnx`.

## Training

- Data: {name}{f"; {in_markdown(dataset.licence)}" if dataset.licence else ""}.{cleaning(data)}
- Network: {learnt.network} of {learnt.units}, {learnt.activation}, {learnt.initializer}.
- Learning rate {learnt.learning_rate:.6g}; {train["epochs"]} epochs,
  batches of {config.fit.batch_size}; seed {config.seed}.
- Versions: {train["versions"]}.

## Evaluation

On the test images of {name}; 95 % intervals show how far other test images would change a figure.

{table(test)}

Train accuracy {train["train_accuracy"]:.4f}, validation accuracy {train["val_accuracy"]:.4f},
overfitting gap {train["overfitting_gap"]:.4f}. Validation chose the hyperparameters, test nothing.

{honesty(provenance, test)}

## Limits

One character an image, of these {len(dataset.classes)} classes only: the model names one of them
for any image; `k49 predict` marks most images that show something else. Hands and books that
training never saw are read less well.
"""


def metadata(provenance: Provenance, test: dict) -> dict[str, Any]:
    dataset = provenance.dataset
    slug = re.sub("[^a-z0-9]+", "-", dataset.name.lower()).strip("-")
    japanese = dataset.language == "ja"
    metrics = [
        {"type": TYPES.get(key, key.removeprefix("test_")), "name": name, "value": test[key]}
        for key, name in METRIC_NAMES.items()
        if f"{key}_low" in test
    ]
    return {
        **({"language": dataset.language} if dataset.language else {}),
        "license": "apache-2.0",
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": [*(["kuzushiji"] if japanese else []), "image-classification", "keras"],
        "datasets": [slug],
        "metrics": sorted(set(TYPES.values())),
        "model-index": [
            {
                "name": "k49",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": dataset.name, "type": slug, "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def honesty(provenance: Provenance, test: dict) -> str:
    ece = test.get("test_tta_ece", test["test_ece"])
    shifted = ", with TTA" if provenance.shifts else ""
    return (
        "A temperature, fitted on validation, is part of the network. On test, probability and "
        f"share of correct ones\nlie {ece:.4f} apart (expected calibration error{shifted}; "
        f"{test['test_uncalibrated_ece']:.4f} before). `k49 predict` calls\n"
        f"{1 - test['test_coverage']:.1%} of the test images uncertain, and reads "
        f"{test['test_selective_accuracy']:.2%} of the others correctly;\n"
        f"it calls {test['test_outliers']:.1%} outliers."
    )


def cleaning(data: dict) -> str:
    """Say how many images were left out or relabelled; nothing, if the data is as published."""
    parts = [
        f"{images:,} {split} images {how}"
        for key, how in (("excluded", "left out"), ("relabelled", "given another label"))
        for split, images in data.get(key, {}).items()
        if images
    ]
    return f"\n- Cleaned (`data.exclude`, `data.relabel`): {'; '.join(parts)}." if parts else ""


def averaging(shifts: int) -> str:
    return f" and averages over copies of each, moved by up to {shifts} pixel(s)" if shifts else ""


def table(test: dict) -> str:
    rows = [
        f"| {name} | {test[key]:.4f} | {test[f'{key}_low']:.4f} to {test[f'{key}_high']:.4f} |"
        for key, name in METRIC_NAMES.items()
        if f"{key}_low" in test
    ]
    return "\n".join(["| metric | value | 95 % interval |", "|---|---|---|", *rows])
