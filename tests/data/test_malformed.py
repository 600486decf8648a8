"""Datasets that are wrong: each is refused in one line that names the file and what was found."""

import gzip
import io
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from k49.data.fetch import fetch
from k49.errors import K49Error
from tests import forms
from tests.forms import idx_bytes, made
from tests.helpers import CHARACTERS, DATA, STANDIN

SMALL = made()
(X, Y), (XT, YT) = SMALL.train, SMALL.test


def keras(**arrays):
    """Keras' form, with some of its arrays replaced."""
    return lambda folder: forms.keras(folder / "own.npz", SMALL, **arrays)


def without(*keys):
    def make(folder):
        arrays = {"x_train": X, "y_train": Y, "x_test": XT, "y_test": YT}
        np.savez(folder / "own.npz", **{k: v for k, v in arrays.items() if k not in keys})
        return folder / "own.npz"

    return make


def idx(name="", content=None, names=None):
    """MNIST's form, with the content of one file replaced, or files removed."""

    def make(folder):
        forms.idx(folder, SMALL)
        if content is not None:
            (folder / f"{name}.gz").write_bytes(content)
        for each in names or ():
            (folder / each).unlink()
        return folder

    return make


def npz(name=None, content=None, names=CHARACTERS[:3]):
    """K49's form, with the content of one file replaced."""

    def make(folder):
        forms.npz(folder, SMALL, names=names)
        if name:
            (folder / name).write_bytes(content)
        return folder

    return make


def pictures(change, test=True):
    """Class folders, and what is done to them."""

    def make(folder):
        forms.folders(folder, SMALL, ["a", "b", "c"], test)
        change(folder)
        return folder

    return make


def picture(name, image, **options):
    return pictures(lambda folder: image.save(folder / name, **options))


def two(folder):
    forms.idx(folder, SMALL)
    forms.npz(folder, SMALL)
    return folder


def nothing(folder):
    (folder / "readme.txt").write_text("no data")
    return folder


def copy_test(n):
    images = XT.copy()
    images[:n] = X[:n]
    return images


def changed(labels, label):
    return np.append(labels[:-1].astype(np.int64), label)


def nan(images):
    floats = images / 255
    floats[0, 0, 0] = np.nan
    return floats


def shapes(head):
    return gzip.compress(bytes.fromhex(head) + bytes(100))


PIXEL = Image.new("L", (20, 16), 9)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 20, 3), np.uint8))
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
KERAS, WHOLE = "own.npz", "data.source"

# what is wrong: how to make it, what names it, and what is said to be found
TABLE = {
    # counts
    "fewer labels": (keras(y_train=Y[:-1]), KERAS, "24 images, but .*y_train 23 labels"),
    "fewer images": (keras(x_test=XT[:-1]), KERAS, "11 images, but .*y_test 12 labels"),
    "no image": (keras(x_train=X[:0]), KERAS, r"is empty, its shape is \(0, 16, 20\)"),
    # labels
    "label out of range": (
        npz(names="ab"),
        "k49-train-labels",
        "label 2 found; labels go from 0 to 1",
    ),
    "negative label": (keras(y_train=changed(Y, -1)), KERAS, "label -1 found, labels start at 0"),
    "class without train images": (
        keras(y_test=changed(YT, 3)),
        KERAS,
        "class 3 has no train image",
    ),
    "one class": (keras(y_train=Y * 0, y_test=YT * 0), KERAS, "1 classes, expected 2 to 256"),
    "257 classes": (
        keras(x_train=np.resize(X, (257, 16, 20)), y_train=np.arange(257)),
        KERAS,
        "257 classes, expected 2 to 256",
    ),
    "labels are floats": (
        keras(y_train=Y / 2),
        KERAS,
        r"float64 of shape \(24,\), expected labels",
    ),
    "two 1s in a row": (keras(y_train=np.ones((24, 3))), KERAS, "not every row is one-hot"),
    "labels of three axes": (keras(y_train=np.ones((24, 3, 1))), KERAS, "expected labels"),
    "text in train only": (
        keras(y_train=Y.astype(str)),
        KERAS,
        "labels are uint8, but .* train <U",
    ),
    "label of line breaks": (
        keras(y_train=np.array(["a\nb", "c", "d"])[Y], y_test=np.array(["a\nb", "c", "d"])[YT]),
        KERAS,
        r"'a\\nb' is no name of a class",
    ),
    "labels no text": (keras(y_train=np.array([b"\xff", b"a", b"b"])[Y]), KERAS, "no UTF-8 text"),
    # images
    "dark on light": (
        keras(x_train=255 - X, x_test=255 - XT),
        KERAS,
        "mean pixel is .*data.invert",
    ),
    "colours": (
        keras(x_train=np.stack([X] * 3, 3)),
        KERAS,
        r"colour images, shape \(24, 16, 20, 3\)",
    ),
    "colours first": (keras(x_train=np.stack([X] * 3, 1)), KERAS, "colour images"),
    "NaN": (keras(x_train=nan(X)), KERAS, "holds NaN or infinity"),
    "floats to 255": (
        keras(x_train=X * 1.0),
        KERAS,
        "float64 from 0 to 255, expected floats of 0 to 1",
    ),
    "int64 images": (keras(x_train=X.astype(int)), KERAS, "int64 of shape .*, expected uint8"),
    "blank": (keras(x_train=X * 0 + 7), KERAS, "blank, every pixel is 7"),
    "too small": (keras(x_train=X[:, :7]), KERAS, "images of 7 x 20 pixels"),
    "too large": (keras(x_train=np.resize(X, (24, 65, 20))), KERAS, "images of 65 x 20 pixels"),
    "flat, no square": (
        keras(x_train=X.reshape(24, -1)),
        KERAS,
        r"shape \(24, 320\), expected \(N, H",
    ),
    "test of another size": (keras(x_test=XT[:, :12]), KERAS, "12 x 20 pixels, .* 16 x 20"),
    "test is train": (keras(x_test=copy_test(12)), KERAS, "12 of 12 images are train images, too"),
    "objects": (keras(x_train=X.astype(object)), KERAS, "holds object"),
    # files
    "a key is missing": (
        without("y_test"),
        KERAS,
        "no array y_test; it has x_train, y_train, x_test",
    ),
    "no npz": (
        lambda f: [(f / KERAS).write_text("hm"), f / KERAS][1],
        KERAS,
        "not a readable npz file",
    ),
    "idx without a file": (idx(names=[f"{LABELS}.gz"]), WHOLE, f"lacks {LABELS}.gz"),
    "idx cut off": (
        idx(IMAGES, gzip.compress(idx_bytes(X)[:-9])),
        IMAGES,
        r"7,671 bytes of data, its header says \(24, 16, 20\)",
    ),
    "idx too long": (idx(IMAGES, gzip.compress(idx_bytes(X) + b"0")), IMAGES, "more data than its"),
    "gzip cut off": (
        idx(IMAGES, gzip.compress(idx_bytes(X))[:-99]),
        IMAGES,
        "not a readable idx.gz",
    ),
    "no idx": (idx(IMAGES, gzip.compress(b"<!doctype html>")), IMAGES, "no idx header"),
    "idx of 2^96 images": (
        idx(IMAGES, shapes("00000803" + "f" * 24)),
        IMAGES,
        "claims uint8 of shape",
    ),
    "idx of 8 GiB": (
        idx(IMAGES, shapes("00000803009896800000001c0000001c")),
        IMAGES,
        "holds 10000000 images, but .* 24 labels",
    ),
    "class map of words": (
        npz("k49_classmap.csv", b"a,b\n1,2\n"),
        "k49_classmap.csv",
        "not a class map",
    ),
    "two datasets": (
        two,
        WHOLE,
        "holds 2 datasets: k49-train-imgs.npz or train-images-idx3-ubyte.gz",
    ),
    "no dataset": (nothing, WHOLE, "holds no dataset of a known form: K49's or KMNIST's npz"),
    # class folders
    "train without test": (
        pictures(lambda f: (f / "test").rename(f / "more")),
        "more, train",
        "expected train and test",
    ),
    "an empty class": (pictures(lambda f: (f / "train/d").mkdir()), "train/d", "an empty folder"),
    "a file among the classes": (
        pictures(lambda f: (f / "train/x").touch()),
        "train/x",
        "a file, exp",
    ),
    "no picture": (
        pictures(lambda f: (f / "train/a/a.txt").write_text("a")),
        "train/a/a.txt",
        "not a picture in a known format",
    ),
    "a picture cut off": (
        pictures(lambda f: (f / "train/a/a.png").write_bytes(b"\x89PNG\r\n\x1a\n")),
        "train/a/a.png",
        "not a picture|a damaged picture",
    ),
    "a coloured picture": (picture("train/a/a.png", NOISE), "train/a/a.png", "has colours"),
    "pictures of two sizes": (
        picture("test/a/a.png", PIXEL.resize((9, 9))),
        "test/a/a.png",
        "9 x 9 pixels, .* has 16 x 20; set data.image_size",
    ),
    "a class of test alone": (
        pictures(lambda f: (f / "test/a").rename(f / "test/z")),
        "test",
        "class 'z' has no train image",
    ),
    "a class of one picture": (
        pictures(lambda f: [(f / "d").mkdir(), PIXEL.save(f / "d/a.png")], test=False),
        "/d",
        "a single picture",
    ),
    "a picture of 10^9 pixels": (
        pictures(lambda f: (f / "train/a/a.png").write_bytes(huge())),
        "train/a/a.png",
        "more than 10,000,000",
    ),
}


def huge() -> bytes:
    """A PNG that claims a billion pixels."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "png")
    content = bytearray(file.getvalue())
    content[16:24] = (31_623).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("wrong", TABLE)
def test_refused_in_one_line(tmp_path, wrong):
    make, named, found = TABLE[wrong]
    (tmp_path / "source").mkdir()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "before").touch()
    data = DATA.model_copy(update={"source": str(make(tmp_path / "source"))})
    with pytest.raises(K49Error, match=found) as caught:
        fetch(data, STANDIN, *(tmp_path / name for name in ("raw", "downloads", "own")))
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert named in text
    assert len(text) < 700
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["raw", "source"], "nothing half-written"
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["before"]


BOMBS = {
    "npz": lambda folder, zeros: all_zeros(folder / "own.npz", zeros),
    "gz": lambda folder, zeros: forms.idx(folder, SMALL) and idx_of_zeros(folder, zeros),
    "method": lambda folder, zeros: lzma(folder / "own.npz"),
}


def all_zeros(path, zeros):
    np.savez_compressed(
        path, x_train=zeros, y_train=np.arange(len(zeros)) % 3, x_test=XT, y_test=YT
    )


def idx_of_zeros(folder, zeros):
    """Twice as many labels as images, and a header that claims that there are as many."""
    n = 2 * len(zeros)
    labels = np.arange(n, dtype=np.uint8) % 3
    (folder / f"{LABELS}.gz").write_bytes(gzip.compress(idx_bytes(labels), 1))
    with gzip.open(folder / f"{IMAGES}.gz", "wb", 1) as file:
        file.write(idx_bytes(X)[:4] + struct.pack(">3I", n, 16, 20))
        file.write(zeros.data)


def lzma(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x_train.npy", bytes(1000))


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_memory_is_bounded_whatever_a_file_claims(tmp_path, bomb):
    """96 MB of zeros in a file of 0.1 MB: a chunk of them is in memory, and a digest of each."""
    BOMBS[bomb](tmp_path, np.zeros((300_000, 16, 20), np.uint8))
    source = tmp_path if bomb == "gz" else tmp_path / "own.npz"
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from k49.data.fetch import fetch\n"
        "from k49.errors import K49Error\n"
        "from tests.helpers import DATA, STANDIN\n"
        "source, out = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "def peak():\n"
        "    return int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before = peak()\n"
        "try:\n"
        "    fetch(DATA.model_copy(update={'source': str(source)}), STANDIN, out, out, out)\n"
        "except K49Error as error:\n"
        "    print(error)\n"
        "print(peak() - before)\n"
    )
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "out")]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60)
    said, kib = done.stdout.splitlines()
    assert "own.npz" in said or IMAGES in said
    assert int(kib) < 90 * 1024
