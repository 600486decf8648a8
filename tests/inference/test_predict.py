"""From probabilities to characters."""

import numpy as np
import pytest

from k49.data.characters import code_point
from k49.errors import K49Error
from k49.inference.predict import best, describe, predict
from k49.training.model import build_model, load_model, predict_proba, save_model
from tests.helpers import CHARACTERS, PLAIN, SHAPE, SMALL_MODEL, provenance_of

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)


def test_best():
    probabilities = np.full(49, 0.01, np.float32)
    probabilities[[40, 3, 7]] = 0.3, 0.2, 0.04
    rows = best(probabilities, CHARACTERS, 3)
    assert [row["character"] for row in rows] == [CHARACTERS[i] for i in (40, 3, 7)]
    assert [row["code_point"] for row in rows] == [code_point(CHARACTERS[i]) for i in (40, 3, 7)]
    assert [row["probability"] for row in rows] == pytest.approx([0.3, 0.2, 0.04], abs=1e-6)
    assert len(best(probabilities, CHARACTERS, 99)) == 49


def test_candidates_are_those_of_the_saved_model(tmp_path):
    path = tmp_path / "model.keras"
    save_model(build_model(SMALL_MODEL, PLAIN, *SHAPE), path, provenance_of("bars"))
    probabilities = predict_proba(load_model(path), IMAGES)
    found = predict(path, IMAGES, top=3)
    likeliest = [CHARACTERS[label] for label in probabilities.argmax(1)]
    assert [row[0]["character"] for row in found] == likeliest
    for row, expected in zip(found, np.sort(probabilities)[:, :-4:-1], strict=True):
        assert [each["probability"] for each in row] == pytest.approx(expected, abs=1e-5)


def test_as_many_shifts_as_the_model_file_says_are_averaged(tmp_path):
    model = build_model(SMALL_MODEL, PLAIN, *SHAPE)
    found = {}
    for shifts in (0, 1):
        path = tmp_path / f"{shifts}.keras"
        save_model(model, path, provenance_of("bars", shifts))
        found[shifts] = predict(path, IMAGES, top=1)
        assert ("averaged over 9 shifts" in describe(path)[0]) == bool(shifts)
        for row, expected in zip(found[shifts], predict_proba(model, IMAGES, shifts), strict=True):
            assert row[0]["probability"] == pytest.approx(expected.max(), abs=1e-5)
    assert found[0] != found[1]


def test_model_that_says_nothing_of_itself_is_used_all_the_same(tmp_path):
    path = tmp_path / "plain.keras"
    build_model(SMALL_MODEL, PLAIN, *SHAPE).save(path)
    assert len(predict(path, IMAGES, top=3)) == len(IMAGES)
    assert "says nothing" in describe(path)[0]


def test_no_model(tmp_path):
    with pytest.raises(K49Error, match="no such model"):
        predict(tmp_path / "none.keras", IMAGES, top=1)
