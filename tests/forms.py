"""Datasets of any size in every form that `data.source` takes."""

import gzip
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers import class_map, ink


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder's files, and give the address."""
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@dataclass(frozen=True)
class Made:
    """Train and test: images (N, H, W) uint8, labels (N,) from 0."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def made(classes=3, size=(16, 20), of_class=(8, 4), seed=0) -> Made:
    """Images of a bar whose place is the class, in noise, light on black."""
    rng = np.random.default_rng(seed)
    parts = []
    for n in of_class:
        labels = rng.permutation(np.repeat(np.arange(classes, dtype=np.uint8), n))
        images = rng.integers(0, 60, (len(labels), *size), np.uint8)
        pixels = size[0] * size[1]
        for image, label in zip(images.reshape(-1, pixels), labels, strict=True):
            place = int(label) * (pixels - pixels // 8) // max(classes - 1, 1)
            image[place : place + pixels // 8] = 255
        parts.append((images, labels))
    return Made(*parts)


def npz(folder: Path, data: Made, prefix="k49", names="") -> Path:
    """K49's and KMNIST's form; a class map if there are names."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in (("train", data.train), ("test", data.test)):
        np.savez_compressed(folder / f"{prefix}-{split}-imgs.npz", images)
        np.savez_compressed(folder / f"{prefix}-{split}-labels.npz", labels)
    if names:
        (folder / f"{prefix}_classmap.csv").write_text(class_map(names), "utf-8")
    return folder


def csv(folder: Path, data: Made, header=True) -> Path:
    """Kaggle's form of MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in (("train", data.train), ("test", data.test)):
        rows = np.concatenate([labels[:, None], images.reshape(len(images), -1)], 1)
        names = ",".join(["label", *(f"pixel{i}" for i in range(rows.shape[1] - 1))])
        head = {"header": names, "comments": ""} if header else {}
        np.savetxt(folder / f"mnist_{split}.csv", rows, "%d", ",", **head)
    return folder


def idx_bytes(array: np.ndarray) -> bytes:
    """An array as idx."""
    kind = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[array.dtype.str[1:]]
    head = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def idx(folder: Path, data: Made, packed=True, prefix="", test="t10k") -> Path:
    """MNIST's form, or EMNIST's with a prefix and `test`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in (("train", data.train), (test, data.test)):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(array)
            name = f"{prefix}{split}-{kind}-ubyte{'.gz' if packed else ''}"
            (folder / name).write_bytes(gzip.compress(content, 1) if packed else content)
    return folder


def keras(path: Path, data: Made, **changes) -> Path:
    """The form of keras.datasets' files; `changes` replace arrays by their keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = dict(zip(("x_train", "y_train"), data.train, strict=True))
    arrays |= dict(zip(("x_test", "y_test"), data.test, strict=True))
    np.savez(path, **{**arrays, **changes})
    return path


def ink_folders(folder: Path, names, of_class=40) -> Path:
    """Class folders of pictures of all sizes, dark ink on light paper: the same, turned."""
    rng = np.random.default_rng(0)
    for turns, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(of_class):
            size = int(rng.integers(60, 90))
            paper = 230 + rng.normal(0, 2, (size, size))
            picture = paper - np.rot90(ink(size, size), turns) * rng.uniform(0.4, 0.8)
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def folders(folder: Path, data: Made, names, test=True) -> Path:
    """Class folders of PNGs, in `train` and `test` or, without test, of all images together."""
    for split, (images, labels) in (("train", data.train), ("test", data.test)):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            of_class = folder / (split if test else "") / names[label]
            of_class.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(of_class / f"{split}{i:05}.png", compress_level=1)
    return folder
