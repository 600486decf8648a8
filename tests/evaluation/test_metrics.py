"""Metrics against scikit-learn and against cases small enough to work out by hand."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics as reference

from k49.evaluation import metrics as evaluation
from k49.evaluation.probabilities import ModelOutput
from k49.settings import Evaluate
from tests.helpers import CHARACTERS

CONFIG = Evaluate(seed=3, resamples=100, shifts=0)
SHARES = ("accuracy", "balanced_accuracy", "macro_f1", "top_3_accuracy")


def peaked(guesses: list[list[int]]) -> np.ndarray:
    """Probabilities whose order is that of `guesses`, a row each; what is left goes to all."""
    rows = np.full((len(guesses), 49), 0.1 / 49, np.float32)
    for row, order in zip(rows, guesses, strict=True):
        row[order] += 0.9 * np.array([0.6, 0.3, 0.1])[: len(order)] / sum([0.6, 0.3, 0.1])
        row /= row.sum()
    return rows


def metrics(probabilities, labels, resamples: int = 200, seed: int = 49) -> dict:
    return evaluation.metrics(probabilities, np.asarray(labels, np.uint8), resamples, seed)


@pytest.fixture(scope="module")
def sample():
    """Predictions right six times out of ten, of every class; more than are judged at once."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(49), rng.integers(0, 49, 5000)]).astype(np.uint8)
    scores = rng.normal(size=(len(labels), 49))
    scores[np.arange(len(labels)), labels] += 2.5
    probabilities = np.exp(scores)
    return (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32), labels


def test_against_scikit_learn(sample):
    probabilities, labels = sample
    predicted = probabilities.argmax(1)
    exact = probabilities.astype(float)
    exact /= exact.sum(1, keepdims=True)  # float32 sums to 1 within its precision only
    found = metrics(*sample)
    expected = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
        "macro_f1": reference.f1_score(labels, predicted, average="macro"),
        "top_3_accuracy": reference.top_k_accuracy_score(labels, probabilities, k=3),
        "nll": reference.log_loss(labels, exact),
        "brier": reference.brier_score_loss(labels, exact, scale_by_half=False),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2e-6), name


def test_by_hand():
    # class 0: two of three right; class 1: one of one; class 5 is guessed once, but never true
    found = metrics(peaked([[0, 1, 2], [0, 1, 2], [5, 4, 0], [1, 2, 3]]), [0, 0, 0, 1])
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)
    assert found["macro_f1"] == pytest.approx((0.8 + 1) / 2, abs=1e-6)
    assert found["top_3_accuracy"] == 1


def test_top_3_is_three_and_no_more():
    probabilities = peaked([[7, 8, 9]] * 4)
    assert metrics(probabilities, [7, 8, 9, 10])["top_3_accuracy"] == 0.75
    assert metrics(probabilities, [7, 8, 9, 10])["accuracy"] == 0.25


def test_nll_by_hand():
    probabilities = np.full((2, 49), 0.5 / 48)
    probabilities[:, 3] = 0.5
    found = metrics(probabilities, [3, 4])["nll"]
    assert found == pytest.approx((math.log(2) + math.log(96)) / 2, abs=1e-6)


def test_all_right_and_all_wrong():
    right = metrics(peaked([[0], [24], [48]]), [0, 24, 48])
    wrong = metrics(peaked([[1, 2, 3]] * 3), [0, 24, 48])
    assert [right[name] for name in SHARES] == [1, 1, 1, 1]
    assert [wrong[name] for name in SHARES] == [0, 0, 0, 0]


def test_absent_classes_are_left_out():
    """Two classes of 49 are there, both always right: the means are 1, not 2 of 49."""
    found = metrics(peaked([[3], [3], [47]]), [3, 3, 47])
    assert found["balanced_accuracy"] == found["macro_f1"] == 1
    for name in ("balanced_accuracy", "macro_f1"):
        assert [found[f"{name}_{bound}"] for bound in ("low", "high")] == [1, 1]


def test_one_image():
    found = metrics(peaked([[9]]), [9])
    assert found["accuracy"] == 1
    assert found["accuracy_low"] == pytest.approx(0.206549, abs=1e-6)
    assert found["accuracy_high"] == 1


def test_intervals_contain_the_value(sample):
    found = metrics(*sample, resamples=400)
    for name in SHARES:
        low, high = found[f"{name}_low"], found[f"{name}_high"]
        assert 0 <= low < found[name] < high <= 1
        assert high - low < 0.1


def test_wilson_against_published_figures():
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    for hits, images, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert evaluation.wilson(hits / images, images) == pytest.approx((low, high), abs=5e-5)


def test_bootstrap_agrees_with_drawing_images(sample):
    """Drawing cells of the confusion matrix is drawing images: the same spread comes out."""
    probabilities, labels = sample
    predicted = probabilities.argmax(1)
    rng = np.random.default_rng(1)
    values = []
    for _ in range(200):
        rows = rng.integers(len(labels), size=len(labels))
        hits = np.bincount(labels[rows], predicted[rows] == labels[rows], minlength=49)
        values.append(np.mean(hits / np.bincount(labels[rows], minlength=49)))
    result = metrics(*sample, resamples=400)
    found = [result["balanced_accuracy_low"], result["balanced_accuracy_high"]]
    assert found == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=0.006)


def test_seeded(sample):
    first, same, other = (metrics(*sample, seed=seed) for seed in (1, 1, 2))
    assert first == same
    differing = {name for name in first if first[name] != other[name]}
    bootstrapped = ("balanced_accuracy", "macro_f1")
    assert differing
    assert differing <= {f"{name}_{b}" for name in bootstrapped for b in ("low", "high")}


def test_metrics_are_json_without_nan(sample):
    for probabilities, labels in (sample, (peaked([[1, 2, 3]] * 2), [0, 0])):
        text = json.dumps(metrics(probabilities, labels), allow_nan=False)
        names = {
            "nll",
            "ece",
            "brier",
            *(f"{name}{end}" for name in SHARES for end in ("", "_low", "_high")),
        }
        assert json.loads(text).keys() >= names


def test_certain_and_wrong_has_a_finite_loss():
    probabilities = np.zeros((1, 49), np.float32)
    probabilities[0, 0] = 1
    assert math.isfinite(metrics(probabilities, [1])["nll"])


def test_confusion(sample):
    probabilities, labels = sample
    rows = evaluation.confusion(probabilities, labels, CHARACTERS)
    json.dumps(rows, allow_nan=False)
    assert sum(row["images"] for row in rows) == len(labels)
    assert all(row["images"] > 0 for row in rows)
    right = sum(row["images"] for row in rows if row["true"] == row["predicted"])
    assert right == (probabilities.argmax(1) == labels).sum()
    for label, character in enumerate(CHARACTERS):
        of_class = [row for row in rows if row["true"] == character]
        assert sum(row["images"] for row in of_class) == (labels == label).sum()
        assert sum(row["share"] for row in of_class) == pytest.approx(1, abs=0.003)
    pairs = [(CHARACTERS.index(r["true"]), CHARACTERS.index(r["predicted"])) for r in rows]
    assert pairs == sorted(set(pairs))


def labels(true, predicted):
    return {"true_label": true, "predicted_label": predicted}


def test_confusion_by_hand():
    rows = evaluation.confusion(peaked([[0], [0], [1], [48]]), np.array([0, 0, 0, 48]), CHARACTERS)
    assert rows == [
        {"true": "あ", "predicted": "あ", "images": 2, "share": 0.6667, **labels(0, 0)},
        {"true": "あ", "predicted": "い", "images": 1, "share": 0.3333, **labels(0, 1)},
        {"true": "ゝ", "predicted": "ゝ", "images": 1, "share": 1.0, **labels(48, 48)},
    ]


def test_per_class_by_hand():
    # あ: 2 of 3 found, once guessed wrongly; い: the one missed; う: guessed, but never true
    rows = evaluation.per_class(peaked([[0], [0], [2], [0]]), np.array([0, 0, 0, 1]), CHARACTERS)
    a = {"precision": 0.6667, "recall": 0.6667, "recall_low": 0.2077, "recall_high": 0.9385}
    i = {"precision": 0.0, "recall": 0.0, "recall_low": 0.0, "recall_high": 0.7935}
    assert rows == [
        {"character": "あ", "code_point": "U+3042", "images": 3, **a, "f1": 0.6667},
        {"character": "い", "code_point": "U+3044", "images": 1, **i, "f1": 0.0},
    ]


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes(classes):
    """scikit-learn has no top 3 of so few; and words have no code point."""
    truth = np.arange(12) % classes
    guessed = np.eye(classes, dtype=np.float32)[truth] * 0.9 + 0.1 / classes
    guessed[0] = np.roll(guessed[0], 1)
    found = metrics(guessed, truth)
    assert found["top_3_accuracy"] == 1 or classes == 4
    assert found["accuracy"] == pytest.approx(11 / 12, abs=1e-6)
    assert found["nll"] > 0
    names = ["ankle boot", *"abc"][:classes]
    rows = evaluation.per_class(guessed, truth, names)
    assert [row["character"] for row in rows] == names
    assert [row["code_point"] for row in rows] == ["", "U+0061", "U+0062", "U+0063"][:classes]


def test_per_class_agrees_with_the_metrics(sample):
    rows, found = evaluation.per_class(*sample, CHARACTERS), metrics(*sample)
    json.dumps(rows, allow_nan=False)
    assert [row["character"] for row in rows] == CHARACTERS
    assert sum(row["images"] for row in rows) == len(sample[1])
    recall, f1 = (np.mean([row[name] for row in rows]) for name in ("recall", "f1"))
    assert recall == pytest.approx(found["balanced_accuracy"], abs=1e-4)
    assert f1 == pytest.approx(found["macro_f1"], abs=1e-4)


def read_of(probabilities, averaged=None) -> ModelOutput:
    """What a model makes of test images that it takes for outliers one in ten times."""
    outliers = np.arange(len(probabilities)) % 10 == 0
    return ModelOutput(probabilities, averaged, probabilities, certain=0.5, outliers=outliers)


def evaluate(sample, averaged=None):
    probabilities, labels = sample
    return evaluation.evaluate(read_of(probabilities, averaged), labels, 0.75, CONFIG)


def test_evaluation_is_its_parts(sample):
    probabilities, labels = sample
    found = evaluate(sample).metrics
    expected = metrics(probabilities, labels, 100, 3)
    assert found.items() >= {f"test_{name}": value for name, value in expected.items()}.items()
    assert found["val_minus_test"] == pytest.approx(0.75 - expected["accuracy"], abs=1e-6)
    assert found["test_uncalibrated_ece"] == found["test_ece"]
    certain = probabilities.max(1) >= 0.5
    right = probabilities.argmax(1) == labels
    assert found["test_coverage"] == pytest.approx(certain.mean(), abs=1e-6)
    assert found["test_selective_accuracy"] == pytest.approx(right[certain].mean(), abs=1e-6)
    assert found["test_outliers"] == pytest.approx(0.1, abs=1e-3)


def test_averaged_predictions_stand_beside_the_plain_ones(sample):
    probabilities, labels = sample
    averaged = np.roll(probabilities, 1, axis=0)
    alone, found = evaluate(sample), evaluate(sample, averaged)
    ours = {"test_coverage", "test_selective_accuracy"}  # of the averaged ones
    assert {key: found.metrics[key] for key in alone.metrics if key not in ours} == {
        key: value for key, value in alone.metrics.items() if key not in ours
    }
    assert found.metrics["test_selective_accuracy"] < 0.1
    expected = metrics(averaged, labels, 100, 3)
    for name in ("accuracy", "balanced_accuracy"):
        for bound in ("", "_low", "_high"):
            assert found.metrics[f"test_tta_{name}{bound}"] == expected[f"{name}{bound}"]
    assert found.metrics["test_tta_nll"] == expected["nll"]
    assert f"  test_tta_accuracy          {expected['accuracy']:.4f}  (95 %" in str(found)


def test_evaluation_prints_every_share_with_its_interval(sample):
    found = evaluate(sample)
    *lines, ece, last = str(found).splitlines()
    names = [f"test_{name}" for name in SHARES]
    assert [line.split()[0] for line in lines] == names
    for line, name in zip(lines, names, strict=True):
        low, high = found.metrics[f"{name}_low"], found.metrics[f"{name}_high"]
        assert f"{found.metrics[name]:.4f}" in line
        assert f"{low:.4f} to {high:.4f}" in line
    assert ece.split() == ["test_ece", f"{found.metrics['test_ece']:.4f}"]
    assert last.split() == ["val_minus_test", f"{found.metrics['val_minus_test']:.4f}"]
