"""Planted errors are found, at the rows where they were planted."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from k49.comparison import suspects as suspecting
from k49.comparison.review import review_page
from k49.comparison.runs import Run
from k49.data import Dataset, corrections, one_hot
from k49.data.corrections import Corrections
from k49.data.split import split_indices
from k49.errors import K49Error
from k49.evaluation import predictions
from k49.plots.suspects import gallery
from k49.settings import Split
from tests.helpers import CHARACTERS, browser

CLASSES = CHARACTERS[:10]


def planted(rng, images):
    """Images with their row in the first three pixels, true labels, and labels wrong in 2 %."""
    pictures = np.zeros((images, 8, 8), np.uint8)
    pictures[:, 0, :3] = np.stack([np.arange(images) // 65536, np.arange(images) // 256 % 256,
                                   np.arange(images) % 256], axis=1)  # fmt: skip
    true = np.resize(np.arange(10, dtype=np.uint8), images)
    wrong = rng.permutation(images)[: images // 50]
    given = true.copy()
    given[wrong] = (true[wrong] + rng.integers(1, 10, len(wrong))) % 10
    return pictures, true, given


def read(rng, true, accuracy=0.97):
    """Probabilities (N, 10) of a model that reads the true class in most images, surely."""
    chosen = np.where(rng.random(len(true)) < accuracy, true, (true + 1) % 10)
    sure = np.where(
        chosen == true, 1 - rng.beta(1, 30, len(true)), rng.uniform(0.4, 0.9, len(true))
    )
    probabilities = np.repeat((1 - sure)[:, None] / 9, 10, axis=1)
    probabilities[np.arange(len(true)), chosen] = sure
    return probabilities


def of(rng, pictures, true, given, rows):
    """Predictions for some rows, as stage evaluate writes them."""
    split = Dataset(pictures[rows][..., np.newaxis], one_hot(given[rows], 10))
    return predictions.of_split(split, read(rng, true[rows]), None, CLASSES)


@pytest.fixture(scope="module")
def data():
    """Five runs on folds of 5,000 train images, all of them tested on 1,000; what is planted."""
    rng = np.random.default_rng(0)
    train, test = planted(rng, 5000), planted(rng, 1000)
    on_test = of(rng, *test, np.arange(1000))
    runs = []
    for fold in range(5):
        settings = {"seed": 49, "validation_share": 0.2, "folds": 5, "fold": fold}
        val = split_indices(train[2], CLASSES, Split(**settings))[1]
        params = {f"split.{key}": value for key, value in settings.items()}
        runs.append(
            Run(f"folds-{fold}", "made", 1.0, of(rng, *train, val), on_test, "keras 3", params)
        )
    return runs, train, test


def as_published(runs):
    return [(run, Corrections(None, None, test=False)) for run in runs]


def raw(split):
    return split[0], split[2]


def test_planted_errors_are_first(data):
    runs, train, test = data
    opinions, notes = suspecting.collect(as_published(runs), raw(train), raw(test))
    assert not notes
    assert len(opinions) == 6000, "each image once"
    for name, (_, _, given) in (("train", train), ("test", test)):
        here = opinions[opinions.split == name]
        assert np.array_equal(here.given, given[here.index])
    found = suspecting.find_suspects(opinions, CLASSES)
    wrong = {
        (name, int(row))
        for name, (_, true, given) in (("train", train), ("test", test))
        for row in np.flatnonzero(true != given)
    }
    first = found.ranked[np.arange(180)]  # 3 %
    hits = {(str(s), int(i)) for s, i in zip(first.split, first.index, strict=True)} & wrong
    assert len(hits) >= 0.9 * len(wrong)
    assert found.errors == pytest.approx(len(wrong), rel=0.5)
    assert found.errors_of.sum() == pytest.approx(found.errors)


def test_rows_and_gallery(data):
    runs, train, test = data
    opinions, notes = suspecting.collect(as_published(runs[:1]), raw(train), raw(test))
    assert notes[0].startswith("judged 1,000 of 5,000 train images, those of validation; all of")
    found = suspecting.find_suspects(opinions, CLASSES)
    rows = suspecting.rows(found, 20)
    assert len(rows) == 20
    for row in rows[:5]:
        _, true, given = train if row["split"] == "train" else test
        assert row["given"] == CLASSES[given[row["index"]]]
        assert row["likely"] == CLASSES[true[row["index"]]]
        assert row["likely_error"]
    table = list(csv.DictReader(io.StringIO(suspecting.as_csv(rows))))
    assert [int(row["index"]) for row in table] == [row["index"] for row in rows]
    content = json.loads(suspecting.as_json(found, rows))
    assert content["judged"] == 2000
    assert sum(content["estimated_errors_of_class"].values()) == pytest.approx(
        content["estimated_errors"], abs=0.1
    )
    assert "of 2,000 labels are likely errors" in suspecting.sentence(found)
    shown = gallery(found, 20, {"train": raw(train), "test": raw(test)}, "made")
    named = [text.get_text() for text in shown.axes[0].texts]
    assert any(text.startswith(f"{rows[0]['split']} {rows[0]['index']}, ") for text in named)


def test_decisions_on_the_page_are_files_for_the_next_run(data, tmp_path):
    """With the rows that the files had before; names may hold markup, quotes and commas."""
    runs, train, test = data
    classes = ['</script><b>"x",', *CLASSES[1:]]
    header, row = "split,index,given\n", f"train,2,{classes[2]}\n"
    before = corrections.parse((header + row).encode(), "labels/bad.csv", classes)
    opinions, _ = suspecting.collect(as_published(runs), raw(train), raw(test))
    found = suspecting.find_suspects(opinions, classes)
    rows = suspecting.rows(found, 9)
    page = tmp_path / "review.html"
    known = Corrections(before, None, test=False)
    images = {"train": raw(train), "test": raw(test)}
    page.write_text(review_page(found, 9, images, "made", known), "utf-8")
    wrong, written = [], {}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        tab = chromium.new_page()
        tab.on("console", lambda message: wrong.append(message.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(page.as_uri())
        tab.focus("input[name=row0]")
        for key in "12311":
            tab.keyboard.press(key)
        assert tab.text_content("#count") == "5 of 9 decided"
        for name in ("exclude", "relabel"):
            with tab.expect_download() as download:
                tab.click(f"#{name}")
            assert download.value.suggested_filename == {"exclude": "bad.csv"}.get(
                name, "relabel.csv"
            )
            written[name] = Path(download.value.path()).read_bytes()
    assert not wrong
    excluded = corrections.parse(written["exclude"], "exclude", classes)
    assert excluded.index.tolist() == [2, rows[1]["index"]]
    relabelled = corrections.parse(written["relabel"], "relabel", classes, corrections.LIKELY)
    chosen = [rows[i] for i in (0, 2, 3, 4)]
    assert relabelled.index.tolist() == [row["index"] for row in chosen]
    new = [row["given" if i == 1 else "likely"] for i, row in enumerate(chosen)]
    assert [classes[label] for label in relabelled.labels[:, 1]] == new


def test_no_suspect_among_labels_that_are_read(data):
    runs, train, test = data
    right = replace(runs[0].test.opinion, predicted=runs[0].test.labels)
    same = replace(runs[0].test, opinion=right)
    opinions, _ = suspecting.collect(
        as_published([replace(runs[0], test=same)]), raw(train), raw(test)
    )
    found = suspecting.find_suspects(opinions[opinions.split == "test"], CLASSES)
    assert found.confident == found.errors == 0
    assert not suspecting.rows(found, 10)
    assert gallery(found, 20, {"train": raw(train), "test": raw(test)}, "made").axes


def test_other_images_are_refused_and_older_runs_named(data):
    runs, train, test = data
    with pytest.raises(K49Error, match=r"test images of data/raw, with .+ are not those"):
        suspecting.collect(as_published(runs), raw(train), (test[0] + 1, test[2]))
    older = replace(runs[0], val=replace(runs[0].val, opinion=None))
    opinions, notes = suspecting.collect(as_published([older]), raw(train), raw(test))
    assert set(opinions.split) == {"test"}
    assert notes[0].startswith("folds-0: older, without probabilities of its validation images")
