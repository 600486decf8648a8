"""Every form of a dataset that `data.source` takes: the same arrays come out."""

from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image

from k49.data import raw
from k49.data.fetch import fetch
from k49.errors import K49Error
from k49.io import write_yaml
from tests import forms
from tests.forms import Made, made
from tests.helpers import CHARACTERS, DATA, STANDIN, ink

SMALL = made()
NAMES = ["ankle boot", "あ", "$x_1^2$"]
ARRAYS = dict(zip(("train", "test"), (SMALL.train, SMALL.test), strict=True))


@pytest.fixture
def get(tmp_path):
    """A function that fetches and returns what is known, both parts, and what was said."""

    def run(source, **changes):
        data = DATA.model_copy(update={"source": str(source), **changes})
        places = (tmp_path / name for name in ("raw", "downloads", "datasets"))
        said = fetch(data, STANDIN, *places)
        parts = [raw.read(tmp_path / "raw", split) for split in ("train", "test")]
        return raw.read_info(tmp_path / "raw"), parts, said

    return run


@pytest.fixture
def served(monkeypatch):
    """A function that serves a folder and returns its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(forms.served(folder))


def same(parts, data: Made = SMALL) -> bool:
    """Whether both parts are the data, in their order."""
    expected = (data.train, data.test)
    return all(
        np.array_equal(found, made)
        for part, whole in zip(parts, expected, strict=True)
        for found, made in zip(part, whole, strict=True)
    )


WAYS = {
    "npz": lambda folder: forms.npz(folder, SMALL, "kana"),
    "idx.gz": lambda folder: forms.idx(folder, SMALL),
    "idx": lambda folder: forms.idx(folder, SMALL, packed=False),
    "idx, both": lambda folder: forms.idx(forms.idx(folder, SMALL), SMALL, packed=False),
    "EMNIST's": lambda folder: forms.idx(folder, SMALL, prefix="emnist-letters-", test="test"),
    "Keras'": lambda folder: forms.keras(folder / "own.npz", SMALL),
    "Keras', in a folder": lambda folder: forms.keras(folder / "my own.npz", SMALL).parent,
}


@pytest.mark.parametrize("way", WAYS)
def test_forms(get, tmp_path, way):
    info, parts, said = get(WAYS[way](tmp_path / "kana"))
    assert same(parts)
    assert info.classes == ["0", "1", "2"]
    assert info.image_size == [16, 20]
    assert "verified by their contents" in said


@pytest.mark.parametrize("way", ["npz", "idx.gz", "idx", "Keras'"])
def test_addresses(get, served, tmp_path, way):
    path = WAYS[way](tmp_path / "kana")
    if way == "npz":  # an address lists nothing: only published names are found
        path = forms.npz(tmp_path / "kmnist", SMALL, "kmnist", CHARACTERS[:3])
    folder, name = (path, "") if path.is_dir() else (path.parent, path.name)
    info, parts, _ = get(f"{served(folder)}/{name}")
    assert same(parts)
    assert info.classes == (CHARACTERS[:3] if way == "npz" else ["0", "1", "2"])
    assert info.name.startswith("127.0.0.1 (")
    assert not list((tmp_path / "downloads").iterdir()), "nobody could tell if they are still right"


def test_address_with_other_names(get, served, tmp_path):
    """Its list of sums says what it has; else a description does."""
    folder = forms.npz(tmp_path / "kana", SMALL, "kana")
    url = served(folder)
    with pytest.raises(K49Error, match=r"holds none of k49-train-imgs\.npz, kmnist"):
        get(url)
    arrays = {
        f"{split}_{what}": {"file": f"kana-{split}-{short}.npz"}
        for split in ("train", "test")
        for what, short in (("images", "imgs"), ("labels", "labels"))
    }
    content = {"title": "Kana", "mirrors": [url], "arrays": arrays, "classes": NAMES}
    write_yaml(tmp_path / "datasets" / "kana.yaml", content)
    info, parts, _ = get("kana")
    assert same(parts)
    assert info.classes == NAMES
    assert info.name.startswith("Kana (")


@pytest.mark.parametrize("address", [False, True])
def test_npz_with_keys_of_its_own(get, served, tmp_path, address):
    keys = {"train_images": "X", "train_labels": "Y", "test_images": "Xt", "test_labels": "Yt"}
    arrays = dict(zip(keys.values(), (*SMALL.train, *SMALL.test), strict=True))
    np.savez(tmp_path / "own.npz", **arrays)
    content = {
        "title": "Mine",
        "mirrors": [f"{served(tmp_path) if address else tmp_path}/own.npz"],
        "arrays": {name: {"file": "own.npz", "key": key} for name, key in keys.items()},
    }
    write_yaml(tmp_path / "datasets" / "mine.yaml", content)
    assert same(get("mine")[1])
    content["arrays"]["test_labels"] = {"file": "other.npz"}
    write_yaml(tmp_path / "datasets" / "mine.yaml", content)
    with pytest.raises(K49Error, match=r"is one file, its description has own\.npz, other\.npz"):
        get("mine")


def test_class_map_names_the_classes(get, tmp_path):
    info, parts, _ = get(forms.npz(tmp_path / "kana", SMALL, "kana", CHARACTERS[:4]))
    assert info.classes == CHARACTERS[:4]  # the last has no image, as in a part of K49
    assert same(parts)


@pytest.mark.parametrize(
    ("prefix", "classes"), [("k49", CHARACTERS), ("kmnist", list("おきすつなはまやれを"))]
)
def test_files_called_as_a_description_have_its_classes(get, tmp_path, prefix, classes):
    data = made(size=(28, 28))
    info, parts, _ = get(forms.npz(tmp_path / "kana", data, prefix))
    assert info.classes == classes
    assert same(parts, data)


@pytest.mark.parametrize("shape", [(-1, 320), (-1, 16, 20, 1), (-1, 1, 16, 20)])
def test_shapes(get, tmp_path, shape):
    x_train, x_test = (images.reshape(shape) for images, _ in ARRAYS.values())
    path = forms.keras(tmp_path / "own.npz", SMALL, x_train=x_train, x_test=x_test)
    content = {"title": "Mine", "mirrors": [str(path)], "image_size": [16, 20]}
    write_yaml(tmp_path / "datasets" / "mine.yaml", content)
    assert same(get("mine")[1])
    write_yaml(tmp_path / "datasets" / "mine.yaml", {**content, "image_size": [20, 16]})
    if len(shape) > 2:
        with pytest.raises(K49Error, match=r"x_train: holds images of 16 x 20 .* expected 20 x 16"):
            get("mine")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_0_to_1(get, tmp_path, dtype):
    x_train, x_test = ((images / 255).astype(dtype) for images, _ in ARRAYS.values())
    path = forms.keras(tmp_path / "own.npz", SMALL, x_train=x_train, x_test=x_test)
    assert same(get(path)[1])


def test_flat_squares_need_no_description(get, tmp_path):
    data = made(size=(9, 9))
    x_train, x_test = (images.reshape(-1, 81) for images, _ in (data.train, data.test))
    path = forms.keras(tmp_path / "own.npz", data, x_train=x_train, x_test=x_test)
    assert same(get(path)[1], data)


LABELS = {
    "int64": lambda labels: labels.astype(np.int64),
    "big-endian": lambda labels: labels.astype(">i4"),
    "column": lambda labels: labels[:, np.newaxis],
    "one-hot": lambda labels: np.eye(3)[labels],
    "one-hot, bool": lambda labels: np.eye(3, dtype=bool)[labels],
    "text": lambda labels: np.array(["0", "1", "2"])[labels],
    "bytes": lambda labels: np.array([b"0", b"1", b"2"])[labels],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels(get, tmp_path, kind):
    y_train, y_test = (LABELS[kind](labels) for _, labels in ARRAYS.values())
    info, parts, _ = get(forms.keras(tmp_path / "own.npz", SMALL, y_train=y_train, y_test=y_test))
    assert same(parts)
    assert info.classes == ["0", "1", "2"]


def test_labels_with_gaps_are_names(get, tmp_path):
    """As EMNIST's letters, which start at 1."""
    y_train, y_test = (np.array([1, 7, 300])[labels] for _, labels in ARRAYS.values())
    info, parts, _ = get(forms.keras(tmp_path / "own.npz", SMALL, y_train=y_train, y_test=y_test))
    assert info.classes == ["1", "7", "300"]
    assert same(parts)


def test_transpose_and_invert(get, tmp_path):
    turned = Made(*((255 - x.swapaxes(1, 2), y) for x, y in ARRAYS.values()))
    path = forms.idx(tmp_path / "emnist", turned)
    with pytest.raises(K49Error, match=r"dark ink on light; set data\.invert to true"):
        get(path)
    assert same(get(path, invert=True, transpose=True)[1])
    upright = forms.idx(tmp_path / "upright", SMALL)
    with pytest.raises(K49Error, match=r"before data\.invert; set data\.invert to false"):
        get(upright, invert=True)


# class folders


def test_class_folders(get, tmp_path):
    info, parts, said = get(forms.folders(tmp_path / "kana", SMALL, NAMES))
    assert info.classes == sorted(NAMES)
    assert info.normalize == "scale"
    assert "36 pictures" in said
    for (images, labels), (made_images, made_labels) in zip(parts, ARRAYS.values(), strict=True):
        for i, name in enumerate(NAMES):
            found = images[labels == sorted(NAMES).index(name)]
            assert np.array_equal(found, made_images[made_labels == i])


def test_folders_of_torchvision_and_dotted_names(get, tmp_path):
    """Was: only `MNIST/raw` itself, and dots in names only of files that are unpacked."""
    forms.idx(tmp_path / "torch/MNIST/raw", SMALL, packed=False)
    for folder in ("torch", "torch/MNIST", "torch/MNIST/raw"):
        assert same(get(tmp_path / folder)[1])
    for file in forms.idx(tmp_path / "dots", SMALL).iterdir():
        file.rename(file.with_name(file.name.replace("-idx", ".idx")))
    assert same(get(tmp_path / "dots")[1])


@pytest.mark.parametrize("header", [True, False])
def test_csv(get, tmp_path, header):
    """Was: "not a readable idx file"."""
    square = forms.made(size=(16, 16))
    assert same(get(forms.csv(tmp_path / "kaggle", square, header))[1], square)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1,2,3\n", "257 to 3"),
        ("1" + ",300" * 256 + "\n", "300"),
        ("a" + ",0" * 256 + "\n", "'a'"),
        ("1" + ",0" * 100_000, "columns"),
    ],
)
def test_csv_with_a_bad_row(get, tmp_path, line, says):
    folder = forms.csv(tmp_path / "kaggle", forms.made(size=(16, 16)))
    with (folder / "mnist_train.csv").open("a") as file:
        file.write(line)
    with pytest.raises(K49Error, match=says):
        get(folder)


def test_csv_without_labels_or_alone(get, tmp_path):
    folder = forms.csv(tmp_path / "kaggle", forms.made(size=(16, 16)))
    with pytest.raises(K49Error, match="one table; name a folder"):
        get(folder / "mnist_train.csv")
    text = (folder / "mnist_test.csv").read_text()
    (folder / "mnist_test.csv").write_text(text.removeprefix("label,"))
    with pytest.raises(K49Error, match=r"mnist_test\.csv.*it has no labels"):
        get(folder)


def test_idx_that_is_packed_under_another_name(get, tmp_path):
    for file in forms.idx(tmp_path / "mnist", SMALL).iterdir():
        file.rename(file.with_suffix(""))
    assert same(get(tmp_path / "mnist")[1], SMALL)


@pytest.mark.parametrize("left", ["__MACOSX", "@eaDir", "Thumbs.db"])
def test_what_systems_leave_is_no_class(get, tmp_path, left):
    folder = forms.folders(tmp_path / "kana", SMALL, NAMES, test=False)
    (folder / left).mkdir()
    (folder / left / "._a").touch()
    assert get(folder)[0].classes == sorted(NAMES)


def test_refusals_say_what_is_there(get, tmp_path):
    folder = forms.folders(tmp_path / "kana", SMALL, ["a", "b", "c"], test=False)
    (folder / "a" / "old").mkdir()
    with pytest.raises(K49Error, match="old: a folder in that of a class"):
        get(folder)
    (tmp_path / "mnist.txt").write_text("5,0,0,0")
    with pytest.raises(K49Error, match=r"\.txt files can't be read; npz, npy, idx and csv can"):
        get(tmp_path / "mnist.txt")


def test_labels_that_start_at_1_are_told_how_to_be_named(get, tmp_path):
    """As EMNIST's letters."""
    parts = [(images, labels + 1) for images, labels in (SMALL.train, SMALL.test)]
    place = str(forms.npz(tmp_path / "kana", Made(*parts)))
    described = {"title": "Kana", "mirrors": [place], "classes": ["a", "b", "c"]}
    write_yaml(tmp_path / "datasets" / "kana.yaml", described)
    with pytest.raises(K49Error, match="these go from 1: put a name for 0 before"):
        get("kana")
    write_yaml(tmp_path / "datasets" / "kana.yaml", described | {"classes": ["-", "a", "b", "c"]})
    assert get("kana")[0].classes == ["-", "a", "b", "c"]


def test_class_folders_without_test(get, tmp_path):
    folder = forms.folders(tmp_path / "kana", SMALL, ["U+3042", "U+3044", "b"], test=False)
    (folder / ".DS_Store").touch()
    (folder / "b" / "Thumbs.db").touch()
    info, ((train, labels), (test, test_labels)), said = get(folder, test_share=0.25)
    assert info.classes == ["b", "あ", "い"]
    assert np.bincount(labels).tolist() == [9] * 3
    assert np.bincount(test_labels).tolist() == [3] * 3
    assert "no test there: 9 of 36 pictures split off, data.test_share 0.25, stratified" in said
    again, other = (get(folder, test_share=0.25, seed=seed)[1][1][0] for seed in (49, 50))
    assert np.array_equal(again, test)
    assert not np.array_equal(other, test)
    assert len(train) == 27


@pytest.mark.parametrize("normalize", ["ink", "scale"])
def test_pictures_of_any_size_are_cut_to_the_ink_or_scaled(get, tmp_path, normalize):
    """Dark ink on light paper, in a corner: cut, it is in the middle and large."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "kana" / name).mkdir(parents=True)
        for i in range(4):
            paper = np.full((100 + i, 140), 230) - rng.integers(0, 3, (100 + i, 140))
            paper[10:60, 10:60] -= ink(50, 50) // (2 if name == "a" else 3)
            picture = Image.fromarray(paper.astype(np.uint8))
            picture.convert("RGB").save(tmp_path / "kana" / name / f"{i}.png")
    settings = dict(normalize=normalize, image_size=[20, 16], invert=normalize == "scale")
    info, ((images, _), _), _ = get(tmp_path / "kana", **settings)
    assert images.shape[1:] == (20, 16)
    assert info.normalize == normalize
    middle = np.mean([image[5:15].sum() / image.sum() for image in images.astype(float)])
    assert (images.max(axis=(1, 2)) == 255).all() == (normalize == "ink")
    assert middle > 0.3
    _, columns = np.nonzero(images.mean(0) > 60)
    assert (np.ptp(columns) >= 12) == (normalize == "ink")


def test_description_of_class_folders(get, tmp_path):
    forms.folders(tmp_path / "kana", SMALL, NAMES)
    content = {"title": "Kana", "mirrors": [str(tmp_path / "kana")], "classes": NAMES}
    write_yaml(tmp_path / "datasets" / "kana.yaml", content)
    info, ((_, labels), _), _ = get("kana")
    assert info.classes == NAMES  # in the order of the description
    assert np.bincount(labels).tolist() == [8] * 3


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 256])
@pytest.mark.parametrize("size", [(8, 8), (64, 64), (8, 64)])
def test_limits_are_allowed(get, tmp_path, classes, size):
    data = made(classes, size, (2, 1))
    assert same(get(forms.keras(tmp_path / "own.npz", data))[1], data)
