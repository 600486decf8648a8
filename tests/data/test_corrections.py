"""Files of images that are left out or relabelled: how they are read, and to what they apply."""

import numpy as np
import pytest

from k49.data import corrections
from k49.data.split import describe, split_dataset
from k49.errors import K49Error
from k49.settings import Cleaning, Split
from tests.helpers import CHARACTERS, info_of

CLASSES = CHARACTERS[:5]
SETTINGS = Split(seed=49, validation_share=0.2)
HEADER = "split,index,given,likely,given_probability\n"
FILES = {"exclude": "labels/exclude.csv", "relabel": "labels/relabel.csv"}


@pytest.fixture(scope="module")
def splits():
    """200 train and 50 test images, which have their row in the first pixel."""
    parts = []
    for images in (200, 50):
        pictures = np.zeros((images, 8, 8), np.uint8)
        pictures[:, 0, 0] = np.arange(images)
        parts.append((pictures, np.resize(np.arange(5, dtype=np.uint8), images)))
    return split_dataset(*parts, CLASSES, SETTINGS)


def line(split: str, index: int, likely: int = 0) -> str:
    return f"{split},{index},{CLASSES[index % 5]},{CLASSES[likely]},0.01\n"


def read(clean_test: bool = False, **texts: str | bytes) -> corrections.Corrections:
    """Corrections by the texts of files."""
    contents = {FILES[name]: text for name, text in texts.items()}
    cleaning = Cleaning(
        **{name: FILES[name] for name in texts},
        clean_test="not_comparable" if clean_test else None,
    )
    return corrections.read(
        cleaning,
        CLASSES,
        lambda path: text.encode() if isinstance(text := contents[path], str) else text,
    )


def rows_of(subset):
    return [int(image[0, 0, 0]) for chunk in subset.image_chunks() for image in chunk]


def test_images_are_left_out_and_relabelled_where_they_are(splits):
    left_out, wrong = rows_of(splits["train"])[7], rows_of(splits["val"])[3]
    changes = read(
        exclude=HEADER + line("train", left_out) + line("test", 9),
        relabel=HEADER + line("train", wrong, likely=(wrong + 1) % 5),
    )
    cleaned, counts = corrections.correct(splits, changes, CLASSES)
    assert counts == {
        "excluded": {"train": 1, "val": 0, "test": 0},
        "relabelled": {"train": 0, "val": 1, "test": 0},
    }
    train, val = rows_of(splits["train"]), rows_of(splits["val"])
    assert rows_of(cleaned["train"]) == [row for row in train if row != left_out]
    assert rows_of(cleaned["val"]) == val, "the others stay where they are"
    labels = np.concatenate(list(cleaned["val"].label_chunks())).argmax(1)
    assert labels.tolist() == [(row + (row == wrong)) % 5 for row in val]
    assert rows_of(cleaned["test"]) == rows_of(splits["test"])
    (note,) = changes.notes()
    assert note.startswith("labels/exclude.csv: 1 of its rows are of test, which stays as it is")
    assert describe(cleaned)["images"] == {"train": 159, "val": 40, "test": 50}
    assert corrections.named(info_of("bars"), counts).name == "bars"


def test_test_is_changed_for_a_word_only_and_then_every_figure_says_so(splits):
    changes = read(clean_test=True, exclude=HEADER + line("test", 9) + line("test", 11))
    cleaned, counts = corrections.correct(splits, changes, CLASSES)
    assert counts["excluded"] == {"train": 0, "val": 0, "test": 2}
    assert rows_of(cleaned["test"]) == [row for row in range(50) if row not in (9, 11)]
    assert corrections.named(info_of("bars"), counts).name == "bars, test corrected"
    assert not list(changes.notes())


def test_without_files_nothing_is_counted(splits):
    assert corrections.correct(splits, read(), CLASSES) == (splits, {})


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + line("train", 3),
        (HEADER + line("train", 3)).replace(",", ";"),
        (HEADER + line("train", 3)).replace(",", "\t").replace("\n", "\r\n"),
        f'index,split,given\n"3", train ,"{CLASSES[3]}"\n\n',
    ],
)
def test_as_spreadsheets_write_it(splits, text):
    """With a byte order mark, other delimiters and line ends, columns in another order."""
    _, counts = corrections.correct(splits, read(exclude=text), CLASSES)
    assert sum(counts["excluded"].values()) == 1


FAULTS = {
    "split,index\ntrain,3\n": "its first line should name split, index, given once each",
    "split,index,given,given\n": "its first line should name split, index, given once each",
    "": "its first line should name",
    HEADER + "val,3,え,お,0\n": "line 2: split is 'val', expected train or test",
    HEADER + line("train", 3) + "train,-3,え,お,0\n": "line 3: index is '-3', expected a whole",
    HEADER + "train,3,\x1b[2J,お,0\n": r"line 2: '\\x1b[2J' is the name of no class",
    HEADER + "train,3\n": "line 2: '' is the name of no class",
    HEADER + line("train", 3) * 2: "line 3: the same image as in line 2",
    HEADER + 'train,3,"え\n': "not valid CSV",
    HEADER + line("train", 200): "line 2: train 200 is not there: train has 200 images",
    HEADER + line("train", 3).replace("train,3", "train,4"): "line 2: the label of train 4 is",
    (HEADER + line("train", 3)).encode("utf-16"): "not UTF-8",
    HEADER + "".join(line("train", row) for row in range(2, 200, 5)): f"class 2 ({CLASSES[2]})",
}  # fmt: skip


@pytest.mark.parametrize("text", FAULTS)
def test_faults_are_one_line_that_says_where(splits, text):
    with pytest.raises(K49Error) as caught:
        corrections.correct(splits, read(exclude=text), CLASSES)
    message = str(caught.value)
    assert FAULTS[text] in message
    assert message.isprintable()
    if not FAULTS[text].startswith("class"):
        assert message.startswith("labels/exclude.csv")


def test_an_image_in_both_files_is_refused(splits):
    text = HEADER + line("train", 3)
    with pytest.raises(K49Error, match=r"relabel.csv, line 2: train 3 is in labels/exclude.csv"):
        corrections.correct(splits, read(exclude=text, relabel=text), CLASSES)
