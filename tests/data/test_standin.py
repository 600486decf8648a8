"""The drawn stand-in: its format, its counts, its bytes, and that images carry their class."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from k49 import kanjivg
from k49.data import standin
from k49.data.standin.hands import Books, forms
from k49.settings import Standin
from tests.helpers import CHARACTERS, K49, ROOT, class_map

# 2,323 train images: more than one chunk, so that threads have something to share
SETTINGS = Standin(classes=49, seed=49, scale=0.01, train_books=40, test_books=12)


@dataclass
class Part:
    """What was drawn, and by whose hands."""

    images: np.ndarray
    labels: np.ndarray
    hands: list[Books]


def drawn(split: str, seed: int, cores: int) -> Part:
    """Draw a part as on a machine of so many cores; notes the books on the way."""
    hands: list[Books] = []
    original = standin.open_books

    def noting(*args) -> Books:
        hands.append(original(*args))
        return hands[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: cores)
        patch.setattr(standin, "open_books", noting)
        labels, chunks = standin.draw(split, SETTINGS.model_copy(update={"seed": seed}))
        images = np.concatenate(list(chunks))
    return Part(images, labels, hands)


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def train():
    return drawn("train", 49, cores=5)


@pytest.fixture(scope="module")
def test():
    return drawn("test", 49, cores=5)


FULL = {split: standin.counts(split, 1.0) for split in ("train", "test")}


def test_counts_at_full_scale_are_those_of_k49():
    assert FULL["train"].sum() == 232_365
    assert FULL["test"].sum() == 38_547
    assert FULL["train"][[0, 3, 44, 45, 48]].tolist() == [6000, 777, 417, 392, 3523]
    assert FULL["test"][[0, 3, 44, 45, 48]].tolist() == [1000, 126, 68, 64, 574]


def test_classes_are_those_of_k49():
    published = class_map(standin.class_names(49)).encode()
    assert hashlib.md5(published).hexdigest() == K49.files["k49_classmap.csv"].md5
    assert standin.class_names(49) == CHARACTERS


def test_ten_classes_are_those_of_kmnist():
    ten = SETTINGS.model_copy(update={"classes": 10, "scale": 0.003})
    assert "".join(standin.class_names(10)) == "おきすつなはまやれを"
    labels, chunks = standin.draw("train", ten)
    assert np.bincount(labels).tolist() == [18] * 10
    images = np.concatenate(list(chunks))
    of_49, others = standin.draw("train", SETTINGS)
    everything = np.concatenate(list(others))
    means = [everything[of_49 == CHARACTERS.index(name)].mean(0) for name in standin.TEN]
    distance = np.linalg.norm(images[:, np.newaxis] - np.array(means), axis=(2, 3))
    assert np.mean(distance.argmin(1) == labels) > 0.3  # drawn as the 49 are


@pytest.mark.parametrize("scale", [1e-9, 0.001, 0.1, 0.5, 3])
@pytest.mark.parametrize(
    ("split", "full", "fewest"),
    [("train", FULL["train"], 2), ("test", FULL["test"], 20)],
)
def test_counts_follow_the_scale(split, full, fewest, scale):
    found = standin.counts(split, scale)
    assert found.min() >= fewest
    assert np.abs(found - np.maximum(full * scale, fewest)).max() <= 0.5


@pytest.mark.parametrize("split", ["train", "test"])
def test_format(request, split):
    part = request.getfixturevalue(split)
    expected = standin.counts(split, SETTINGS.scale)
    assert part.images.shape == (expected.sum(), 28, 28)
    assert part.labels.shape == (expected.sum(),)
    assert part.images.dtype == part.labels.dtype == np.uint8
    assert np.array_equal(np.bincount(part.labels, minlength=49), expected)


def test_cut_to_the_ink_and_centred(train, test):
    """As K49's images: ink's longer side is 27.7 pixels on average, its box is in the middle."""
    for part in (train, test):
        ink = part.images > 80
        places = []
        for line in (ink.any(2), ink.any(1)):
            first, last = line.argmax(1), 27 - line[:, ::-1].argmax(1)
            places.append((last - first + 1, (first + last) / 2))
        (height, row), (width, column) = places
        assert 27 < np.maximum(height, width).mean() <= 28
        assert np.abs(row - 13.5).mean() < 0.7
        assert np.abs(column - 13.5).mean() < 0.7


def test_light_ink_on_black(train):
    x = train.images
    border = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], 1)
    assert np.median(border) < 30
    assert np.median(x.max((1, 2))) > 180
    assert (x.max((1, 2)) > 60).mean() > 0.999  # next to none is empty


def test_shuffled(train):
    assert len(np.unique(train.labels[:500])) > 40


def test_no_two_images_are_the_same(train, test):
    images = {image.tobytes() for part in (train, test) for image in part.images}
    assert len(images) == len(train.images) + len(test.images)


def test_no_hand_of_test_is_one_of_train(train, test):
    (known,), (foreign,) = train.hands, test.hands
    assert len(known) == SETTINGS.train_books
    assert len(foreign) == SETTINGS.test_books
    for name in ("path", "choice"):
        a, b = (getattr(hands, name).reshape(len(hands), -1) for hands in (known, foreign))
        assert np.abs(a[:, None, :50] - b[None, :, :50]).max(-1).min() > 0.01


def test_same_seed_same_bytes_for_any_number_of_cores(train):
    again = drawn("train", 49, cores=1)
    assert sha256(again.images) == sha256(train.images)
    assert sha256(again.labels) == sha256(train.labels)


DRAWN = "ce4391e5a85ef3a6c9101ab9cdde65b6"  # of SETTINGS, both splits: labels, then images
DRAW = f"""
import hashlib
import itertools
import numpy as np
from PIL import Image
from k49.data import standin
from k49.pictures.characters import one_character
from k49.settings import Standin
digest = hashlib.md5()
for split in ("train", "test"):
    labels, chunks = standin.draw(split, Standin(**{SETTINGS.model_dump()}))
    digest.update(labels.tobytes())
    for chunk in itertools.islice(chunks, 2):
        digest.update(chunk.tobytes())
light = np.linspace(0.6, 1, 150) * np.linspace(1, 0.8, 150)[:, None]  # from a side
seal = np.ones((150, 150))
seal[60:110:9, 50:100] = seal[60:110, 50:100:12] = 0.2
for image in chunk[:40]:
    ink = np.asarray(Image.fromarray(image).resize((110, 110))) / 255
    paper = np.pad(1 - 0.7 * ink, 20, constant_values=1) * 220 * light
    sealed = np.stack([paper, paper * seal, paper * seal], -1)
    for picture in (paper.astype(np.uint8).astype(float), sealed.astype(np.uint8)):
        digest.update(one_character(picture, (28, 28)).tobytes())
print(digest.hexdigest())
"""
# By which OpenBLAS and NumPy compute as on other processors, as far as this one can
PROCESSORS = {
    "this one": {},
    "SSE3 alone": {
        "OPENBLAS_CORETYPE": "Prescott",
        "NPY_DISABLE_CPU_FEATURES": "AVX512_ICL X86_V4 X86_V3",
    },
    "AVX2": {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "AVX512_ICL X86_V4"},
}
if "X86_V4" in np.show_config(mode="dicts")["SIMD Extensions"]["found"]:
    PROCESSORS["AVX-512"] = {"OPENBLAS_CORETYPE": "SkylakeX", "OPENBLAS_NUM_THREADS": "1"}


@pytest.mark.slow
def test_same_bytes_on_every_processor():
    """Also pictures that are cut to their ink. Was: one grey level apart in 282 of 5,803 images."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS", "NPY", "OMP"))}
    running = {
        name: subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", DRAW],
            cwd=ROOT,
            env={**kept, **settings},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, settings in PROCESSORS.items()
    }
    assert {name: process.communicate()[0].strip() for name, process in running.items()} == (
        dict.fromkeys(PROCESSORS, DRAWN)
    )


def test_other_seed_differs(test):
    other = drawn("test", 50, cores=5)
    assert not np.array_equal(other.labels, test.labels)
    assert not (other.images == test.images).all((1, 2)).any()


def test_images_carry_their_class(train, test):
    """Even the mean image of each class finds the class of foreign books far above chance."""
    model = NearestCentroid().fit(train.images.reshape(-1, 784) / 255, train.labels)
    accuracy = model.score(test.images.reshape(-1, 784) / 255, test.labels)
    assert 10 / 49 < accuracy < 0.95


def test_a_class_is_written_in_several_forms():
    characters, which, common = forms()
    assert len(set(characters)) == len(characters)  # no form belongs to two classes
    assert np.allclose(common.sum(1), 1)
    assert [characters[first] for first in which[:, 0]] == CHARACTERS
    assert (np.count_nonzero(common, axis=1)[:-1] >= 2).all()  # all but the iteration mark


@pytest.mark.parametrize(("char", "n"), [("つ", 1), ("い", 2), ("川", 3), ("者", 8)])
def test_a_character_has_its_strokes_in_the_air_between_them(char, n):
    points, paper = kanjivg.trajectory(char)
    assert len(kanjivg.strokes(char)) == n
    assert points.shape == (kanjivg.SAMPLES, 2)
    assert np.ptp(points, axis=0).max() == pytest.approx(1, abs=0.01)  # of every size the same
    assert np.count_nonzero(np.diff(paper) < 0) == n - 1  # so often the pen is lifted
    steps = np.hypot(*np.diff(points, axis=0).T)
    assert steps.max() < 1.01 * np.median(steps)  # nowhere does it jump


def test_strokes_are_in_writing_order():
    left, middle, right = (stroke[:, 0].mean() for stroke in kanjivg.strokes("川"))
    assert left < middle < right


def test_a_class_of_test_has_twenty_images_at_least(test):
    """Was: three, so that one of them decided the balanced accuracy."""
    assert np.bincount(test.labels).min() == 20
