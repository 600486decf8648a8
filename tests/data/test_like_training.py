"""A picture becomes what the model was trained on: its margins, its brightness, its size."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from k49.data import fetch as fetching
from k49.data import raw as raws
from k49.data import standin
from k49.data.fetch import fetch
from k49.inference.predict import read
from k49.pictures.single import correlation
from k49.settings import Standin
from tests.helpers import DATA, STANDIN, ink, saved, slow

SETTINGS = Standin(classes=10, seed=1, scale=0.002, train_books=9, test_books=3)


@pytest.fixture
def enough_measured(few_measured, monkeypatch):
    monkeypatch.setattr(fetching, "MEASURED", 50)


def characters(side):
    """Train and test images of characters, `side` pixels large, in the middle of 28 x 28."""
    parts = {}
    for split in ("train", "test"):
        labels, chunks = standin.draw(split, SETTINGS)
        images = np.concatenate(list(chunks))
        small = [Image.fromarray(x).resize((side, side), Image.Resampling.BOX) for x in images]
        images = np.pad(np.stack(small), ((0, 0), *((28 - side, 28 - side),) * 2))
        middle = slice((28 - side + 1) // 2, (28 - side + 1) // 2 + 28)
        parts |= {f"x_{split}": images[:, middle, middle], f"y_{split}": labels}
    return parts


def clothes():
    """Train and test images of shapes with a pattern, which fill much of their image."""
    rng, parts = np.random.default_rng(0), {}
    for split, n in (("train", 60), ("test", 20)):
        images = np.zeros((n, 28, 28), np.uint8)
        for image in images:
            top, left = rng.integers(1, 7, 2)
            shape = image[top : 28 - top, left : 28 - left]
            shape[:] = rng.integers(60, 250, shape.shape)
            shape[10:, shape.shape[1] // 3 : shape.shape[1] // 2] = 0
        parts |= {f"x_{split}": images, f"y_{split}": np.arange(n) % 2}
    return parts


@pytest.fixture
def fetched(tmp_path):
    """A function that fetches arrays as an npz: what is known of them, and what was said."""

    def function(arrays, **settings):
        np.savez(tmp_path / "arrays.npz", **arrays)
        data = DATA.model_copy(update={"source": str(tmp_path / "arrays.npz"), **settings})
        said = fetch(data, STANDIN, tmp_path / "raw", tmp_path, tmp_path / "datasets")
        return raws.read_info(tmp_path / "raw"), said

    return function


@pytest.mark.parametrize("side", [20, *slow(28)])
def test_pictures_get_the_margins_of_the_training_images(enough_measured, fetched, tmp_path, side):
    """Was: cut to their ink whatever the data; arrays 93.9 % right, pictures of the same 69.0."""
    arrays = characters(side)
    info, said = fetched(arrays)
    assert info.normalize == "ink"
    assert info.ink_extent == pytest.approx(side / 28, abs=0.03)
    assert ("ink of pictures to read gets 7" in said) == (side == 20)
    alike, same = [], []
    for image in arrays["x_test"][:20]:
        found, _ = read(saved(tmp_path / "same.png", Image.fromarray(image)), info)
        same.append(correlation(found[0][1], image))
        large = Image.fromarray(np.pad(image, 9)).resize((184, 184), Image.Resampling.BICUBIC)
        paper = Image.fromarray(255 - np.asarray(large) // 2)
        found, _ = read(saved(tmp_path / "large.png", paper), info)
        alike.append(correlation(found[0][1], image))
    assert np.median(same) > 0.98
    assert np.median(alike) > 0.85


def test_pictures_of_no_characters_are_only_scaled(enough_measured, fetched):
    info, said = fetched(clothes())
    assert (info.normalize, info.ink_extent) == ("scale", 1)
    assert "scaled, not cut to their ink" in said
    assert fetched(clothes(), normalize="ink")[0].normalize == "ink"


@pytest.mark.parametrize("white", [1, *slow(16)])
def test_dim_arrays_become_as_bright_as_pictures(fetched, tmp_path, white):
    """Was: accepted without a word, and pictures then read as noise with probability 1."""
    bright = characters(28)
    dim = {k: (x * (white / 255)).astype(np.uint8) if k[0] == "x" else x for k, x in bright.items()}
    highest = max(dim["x_train"].max(), dim["x_test"].max())
    info, said = fetched(dim)
    assert f"pixels go up to {highest} only" in said
    images, _ = raws.read(tmp_path / "raw", "test")
    assert images.max() == 255
    assert images == pytest.approx(dim["x_test"] * (255 / highest), abs=0.5)
    np.save(tmp_path / "some.npy", dim["x_test"][:5])
    assert np.array_equal([image for _, image in read(tmp_path / "some.npy", info)[0]], images[:5])


def test_folders_named_by_macos_are_classes_of_the_same_names(tmp_path):
    """Was: が in NFD, as in train, and in NFC, as in test, were two classes."""
    for split, form in (("train", "NFD"), ("test", "NFC")):
        for i, name in enumerate(("が", "か")):
            folder = tmp_path / "kana" / split / unicodedata.normalize(form, name)
            folder.mkdir(parents=True)
            for n in range(2):
                picture = Image.fromarray(
                    np.roll(ink(28, 28), 5 * n + 2 * i + (split == "test"), 1)
                )
                picture.save(folder / f"{n}.png")
    data = DATA.model_copy(update={"source": str(tmp_path / "kana")})
    fetch(data, STANDIN, tmp_path / "raw", tmp_path, tmp_path / "datasets")
    assert raws.read_info(tmp_path / "raw").classes == ["か", "が"]


@pytest.mark.parametrize("normalize", ["ink", "scale"])
@pytest.mark.parametrize("form", ["tif", "gif", "png"])
def test_pages_that_are_not_read_are_told(fetched, tmp_path, form, normalize):
    """Was: dropped without a word."""
    info, _ = fetched(clothes(), normalize=normalize)
    first, *others = (Image.fromarray(np.roll(255 - ink(60, 60), i, 1)) for i in range(3))
    file = saved(tmp_path / f"a.{form}", first, save_all=True, append_images=others)
    _, note = read(file, info)
    assert "has 3 pages, of which the first is read" in note
    assert "pages" not in read(saved(tmp_path / "a.jpg", first), info)[1]


@pytest.mark.parametrize(("paper", "colour"), [(255, 0), (0, 255)])
def test_scaled_pictures_keep_ink_on_transparent_paper(fetched, tmp_path, paper, colour):
    """Was: alpha was dropped, so that black ink on transparent paper was black all over."""
    info, _ = fetched(clothes(), normalize="scale")
    alpha = Image.fromarray(ink(28, 28))
    picture = Image.merge("LA", (Image.new("L", (28, 28), colour), alpha))
    ((_, image),), _ = read(saved(tmp_path / "ink.png", picture), info)
    expected = np.abs(paper - ink(28, 28).astype(int))
    assert np.abs(image.astype(int) - expected).max() <= 1
