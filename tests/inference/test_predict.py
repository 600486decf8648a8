"""From probabilities to characters."""

from io import StringIO

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from k49.errors import K49Error
from k49.inference.models import open_model
from k49.inference.predict import (
    Character,
    as_table,
    best,
    describe,
    predict,
    predict_rows,
    read,
    save_crops,
    stack,
)
from k49.text import code_point
from k49.training.model import build_model, load_model, predict_proba
from tests.helpers import (
    CHARACTERS,
    PLAIN,
    SHAPE,
    SMALL_MODEL,
    info_of,
    provenance_of,
    save_as,
    saved,
)

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
    save_as(path, build_model(SMALL_MODEL, PLAIN, *SHAPE))
    probabilities = predict_proba(load_model(path), IMAGES)
    found = predict(open_model(path), IMAGES, top=3)
    likeliest = [CHARACTERS[label] for label in probabilities.argmax(1)]
    assert [row[0]["character"] for row in found] == likeliest
    for row, expected in zip(found, np.sort(probabilities)[:, :-4:-1], strict=True):
        assert [each["probability"] for each in row] == pytest.approx(expected, abs=1e-5)


def test_as_many_shifts_as_the_model_file_says_are_averaged(tmp_path):
    model = build_model(SMALL_MODEL, PLAIN, *SHAPE)
    found = {}
    for shifts in (0, 1):
        path = tmp_path / f"{shifts}.keras"
        save_as(path, model, provenance_of("bars", shifts))
        found[shifts] = predict(open_model(path), IMAGES, top=1)
        assert ("averaged over 9 shifts" in describe(open_model(path))[0]) == bool(shifts)
        for row, expected in zip(found[shifts], predict_proba(model, IMAGES, shifts), strict=True):
            assert row[0]["probability"] == pytest.approx(expected.max(), abs=1e-5)
    assert found[0] != found[1]


def test_model_without_provenance_is_refused(tmp_path):
    """Its classes and images would be guesses."""
    path = tmp_path / "plain.keras"
    build_model(SMALL_MODEL, PLAIN, *SHAPE).save(path)
    with pytest.raises(K49Error, match=r"plain.keras: has no .*, which stage calibrate writes"):
        predict(open_model(path), IMAGES, top=3)


def test_model_of_other_classes_and_images(tmp_path):
    """Words, three of them, in pictures of 16 x 20 pixels that are only scaled."""
    words = ["ankle boot", "$x_1$", "[bold]"]
    known = dict(classes=words, image_size=[16, 20], normalize="scale", invert=True)
    path = tmp_path / "model.keras"
    model = build_model(SMALL_MODEL, PLAIN, (16, 20, 1), 3)
    save_as(path, model, provenance_of("shoes", **known))
    picture = np.random.default_rng(0).integers(0, 256, (16, 20), np.uint8)
    saved(tmp_path / "shoe.png", Image.fromarray(picture))
    saved(tmp_path / "large.png", Image.fromarray(picture).resize((100, 80)))
    dataset = open_model(path).dataset
    assert dataset == info_of("shoes", **known)
    ((name, image),), doubt = read(tmp_path / "shoe.png", dataset)
    assert (name, doubt) == (str(tmp_path / "shoe.png"), "")
    assert np.array_equal(image, 255 - picture)
    ((_, scaled),), _ = read(tmp_path / "large.png", dataset)
    assert abs(scaled.astype(int) - image).mean() < 30  # not related, it would be 85
    ((first, *_),) = predict(open_model(path), stack([image]), top=99)
    assert first["character"] in words
    assert first["code_point"] == ""
    rows = predict_rows(open_model(path), [Character("a", image, "")], top=3)
    console = Console(file=StringIO(), width=200)
    console.print(as_table(rows))
    assert all(word in console.file.getvalue() for word in ["class", *words])


def test_crops_are_the_images_that_the_network_reads(tmp_path):
    characters = [Character(f"{tmp_path}/a b.png[{i}]", IMAGES[i, ..., 0], "") for i in range(2)]
    save_crops(characters, tmp_path / "crops")
    for i, name in enumerate(["000-a-b.png-0.png", "001-a-b.png-1.png"]):
        with Image.open(tmp_path / "crops" / name) as image:
            assert np.array_equal(image, IMAGES[i, ..., 0])


def test_no_model(tmp_path):
    with pytest.raises(K49Error, match="no such model"):
        predict(open_model(tmp_path / "none.keras"), IMAGES, top=1)
