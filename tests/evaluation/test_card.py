"""The model's card: its head as Hugging Face reads it, and what it says of the data."""

from ruamel.yaml import YAML

from k49.evaluation.card import model_card
from tests.helpers import provenance_of

K49_NAME, STANDIN_NAME = "Kuzushiji-49", "stand-in (drawn, not K49)"

TRAIN = {
    "train_accuracy": 0.99,
    "val_accuracy": 0.97,
    "overfitting_gap": 0.02,
    "epochs": 3,
    "versions": "keras 3, tensorflow 2",
}
TEST = {
    f"test_{name}{bound}": value + extra
    for name, value in (("accuracy", 0.9), ("macro_f1", 0.8), ("tta_accuracy", 0.95))
    for bound, extra in (("", 0), ("_low", -0.01), ("_high", 0.01))
} | {
    "test_ece": 0.004,
    "test_uncalibrated_ece": 0.08,
    "test_coverage": 0.97,
    "test_selective_accuracy": 0.99,
    "test_outliers": 0.02,
}


def head_of(card):
    _, head, _ = card.split("---\n", 2)
    return YAML(typ="safe").load(head)


def test_head_has_what_hugging_face_asks_for():
    head = head_of(model_card(provenance_of(K49_NAME), {}, TRAIN, TEST))
    assert head["license"] == "apache-2.0"
    assert head["datasets"] == ["kuzushiji-49"]
    assert head["metrics"] == ["accuracy", "f1"]
    ((result,),) = [model["results"] for model in head["model-index"]]
    assert result["task"] == {"type": "image-classification"}
    assert result["dataset"] == {"name": K49_NAME, "type": "kuzushiji-49", "split": "test"}
    assert {each["name"]: each["value"] for each in result["metrics"]} == {
        "accuracy": 0.9,
        "macro F1": 0.8,
        "accuracy, TTA": 0.95,
    }


def test_figures_are_those_of_the_metrics():
    card = model_card(provenance_of(K49_NAME), {}, TRAIN, TEST)
    assert "| macro F1 | 0.8000 | 0.7900 to 0.8100 |" in card
    assert "overfitting gap 0.0200" in card
    assert "keras 3, tensorflow 2" in card


def test_cleaning_is_told():
    data = {"excluded": {"train": 1200, "val": 0}, "relabelled": {"train": 0, "val": 3, "test": 0}}
    card = model_card(provenance_of(K49_NAME), data, TRAIN, TEST)
    told = (
        "(`data.exclude`, `data.relabel`): 1,200 train images left out; 3 val images given another"
    )
    assert f"- Cleaned {told} label.\n- Network" in card
    for untouched in ({}, {"excluded": {"train": 0}, "relabelled": {}}):
        assert "Cleaned" not in model_card(provenance_of(K49_NAME), untouched, TRAIN, TEST)


def test_standin_is_named_and_warned_of():
    card = model_card(provenance_of(STANDIN_NAME), {}, TRAIN, TEST)
    assert "can't read real Kuzushiji" in card
    assert card.count(STANDIN_NAME) >= 3
    assert "KanjiVG" in card
    real = model_card(provenance_of(K49_NAME), {}, TRAIN, TEST)
    assert "can't read real Kuzushiji" not in real
    assert "CC BY-SA 4.0" in real


def test_shifts_are_named():
    assert "averages" in model_card(provenance_of(K49_NAME, shifts=1), {}, TRAIN, TEST)
    assert "averages" not in model_card(provenance_of(K49_NAME), {}, TRAIN, TEST)


def test_probabilities_are_said_to_be_honest_as_far_as_they_are():
    card = model_card(provenance_of(K49_NAME), {}, TRAIN, TEST).replace("\n", " ")
    assert "lie 0.0040 apart (expected calibration error; 0.0800 before)" in card
    assert (
        "calls 3.0% of the test images uncertain, and reads 99.00% of the others correctly" in card
    )


def test_card_of_other_data():
    """Words are shown as they are, whatever Markdown would make of them."""
    known = dict(classes=["*a*", "<b>", "c|d"], image_size=[16, 20], language=None, warning=None)
    card = model_card(provenance_of("my_shoes", **known), {}, TRAIN, TEST)
    assert "language" not in head_of(card)
    assert head_of(card)["tags"] == ["image-classification", "keras"]
    assert "uint8 images (N, 16, 20, 1)" in card
    assert "the 3 classes of my_shoes apart.\n" in card
    assert "`*a*  <b>  c|d`" in card
    assert "Japanese" not in card
