"""The arrays that stage fetch writes into `data/raw`: checked, and in one form for all sources.

train_images.npy, test_images.npy   (N, H, W) uint8, light ink on black
train_labels.npy, test_labels.npy   (N,) uint8, from 0
dataset.json                        `DatasetInfo`: the name that figures carry, the classes
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from k49.data import chunks
from k49.data.images import brighten_pixels, encode
from k49.errors import K49Error
from k49.io import read_json, read_npy, write_json, write_npy
from k49.settings import Data, DatasetInfo, validate

INFO = "dataset.json"
MOST_COPIES = 0.01  # share of the test images that may be train images, too
DIGEST = 8  # bytes: of ten million images two are alike by chance once in 300,000 times
LIGHT = 255 / 2  # mean above which images are dark ink on light paper
DIM = 127  # highest pixel value up to which it is white: 1, or 16 of scikit-learn's digits


@dataclass(frozen=True)
class RawSplit:
    images_from: str  # name of the images' file in errors,
    labels_from: str  # and of the labels'
    n: int
    size: tuple[int, int]  # height and width
    chunks: Iterator[np.ndarray]  # images (n, H, W) uint8, to be read once
    labels: np.ndarray  # (N,) integers or text


@dataclass(frozen=True)
class RawSummary:
    classes: list[str]  # their names
    size: tuple[int, int]  # height and width of the images
    digest: str  # eight digits of a hash of the contents
    note: str  # a warning, or an empty text


@dataclass
class Inspector:
    """Sees each chunk of images go by, and keeps what has to be known of all of them."""

    total: int = 0
    low: int = 255
    high: int = 0
    pixels: int = 0
    digests: bytearray = field(default_factory=bytearray)  # DIGEST bytes of each image

    def see(self, chunk: np.ndarray) -> None:
        self.total += int(chunk.sum(dtype=np.int64))
        self.low, self.high = min(self.low, int(chunk.min())), max(self.high, int(chunk.max()))
        self.pixels += chunk.size
        for image in chunk:
            self.digests += hashlib.blake2b(image.tobytes(), digest_size=DIGEST).digest()

    @property
    def mean(self) -> float:
        return self.total / self.pixels


def write(
    raw: Path, train: RawSplit, test: RawSplit, names: Sequence[str], data: Data
) -> RawSummary:
    """Check both parts and write them into `raw`; the folder is replaced only as a whole.

    Args:
        raw: the folder; `dataset.json` is written by `write_info`.
        train, test: as they come.
        names: of the classes, or none.
        data: whether to invert them, and to exchange rows and columns.

    Raises:
        K49Error: images and labels are not equally many or don't fit together, one split is blank,
            they are dark on light, or test images are train images.
    """
    for part in (train, test):
        if part.n != len(part.labels):
            raise K49Error(
                f"{part.images_from} holds {part.n} images, but {part.labels_from} "
                f"{len(part.labels)} labels"
            )
    if train.size != test.size:
        sizes = [f"{height} x {width}" for height, width in (train.size, test.size)]
        raise K49Error(
            f"{test.images_from}: holds images of {sizes[1]} pixels, {train.images_from} of "
            f"{sizes[0]}"
        )
    places = train.labels_from, test.labels_from
    *labels, classes = encode(train.labels, test.labels, names, places)
    size = train.size[::-1] if data.transpose else train.size
    raw.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256("\n".join(classes).encode())
    digests = list[np.ndarray]()
    for left in raw.parent.glob(".raw-*"):  # of a stage that was killed
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=raw.parent, prefix=".raw-") as folder:
        for split, part, numbers in zip(("train", "test"), (train, test), labels, strict=True):
            inspector = Inspector()
            write_npy(Path(folder, f"{split}_labels.npy"), numbers.shape, [numbers])
            images = turned(part.chunks, inspector, data)
            write_npy(Path(folder, f"{split}_images.npy"), (part.n, *size), images)
            check(inspector, part.images_from, data.invert)
            digest.update(inspector.digests)
            digest.update(numbers.tobytes())
            digests.append(np.frombuffer(inspector.digests, np.uint64))
        note = check_copies(digests[0], digests[1], test.images_from)
        for file in Path(folder).iterdir():
            file.replace(raw / file.name)
    return RawSummary(classes, size, digest.hexdigest()[:8], note)


def turned(chunks: Iterator[np.ndarray], inspector: Inspector, data: Data) -> Iterator[np.ndarray]:
    for chunk in chunks:
        images = 255 - chunk if data.invert else chunk
        images = images.swapaxes(1, 2) if data.transpose else images
        inspector.see(images)
        yield images


def check(inspector: Inspector, where: str, inverted: bool) -> None:
    """Refuse images that are blank, or dark on light.

    Raises:
        K49Error: they are.
    """
    if inspector.low == inspector.high:
        raise K49Error(f"{where}: blank, every pixel is {inspector.high}")
    if inspector.mean > LIGHT:
        wrong = "light ink on black before data.invert" if inverted else "dark ink on light"
        raise K49Error(
            f"{where}: the mean pixel is {inspector.mean:.0f} of 255, so it is {wrong}; set "
            f"data.invert to {str(not inverted).lower()}"
        )


def check_copies(train: np.ndarray, test: np.ndarray, where: str) -> str:
    """Count test images that are train images, by digests (N,) uint64; say so if they are few."""
    copies = int(np.isin(test, train).sum())
    if copies > MOST_COPIES * len(test):
        raise K49Error(
            f"{where}: {copies} of {len(test)} images are train images, too; accuracy on them "
            "would say nothing"
        )
    return f"{copies} of {len(test)} test images are train images, too" if copies else ""


def write_info(raw: Path, info: DatasetInfo) -> None:
    write_json(raw / INFO, info.model_dump())


def read_info(folder: Path) -> DatasetInfo:
    """Read what `write_info` wrote.

    Raises:
        K49Error: it isn't there, or is something else.
    """
    path = folder / INFO
    return validate(DatasetInfo, read_json(path), str(path))


def brighten(raw: Path) -> int:
    """Change dim images in `raw`, so that their highest pixel value becomes 255; return it.

    255 of images that are not dim, which stay as they are.
    """
    paths = [raw / f"{split}_images.npy" for split in ("train", "test")]
    images = [np.load(path, mmap_mode="r+", allow_pickle=False) for path in paths]
    white = max(int(array.max()) for array in images)
    if white > DIM:
        return 255
    for array in images:
        for chunk in chunks(len(array)):
            array[chunk] = brighten_pixels(array[chunk], white)
        array.flush()
    return white


def read(raw: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, H, W) and labels (N,) of "train" or "test", memory-mapped."""
    return read_npy(raw / f"{split}_images.npy"), read_npy(raw / f"{split}_labels.npy")
