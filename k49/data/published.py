"""The dataset's five files as published: checksums, what they are called, what must be in them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from k49.data import K49_NAME, STANDIN_NAME, classes, npz
from k49.errors import K49Error

CLASSMAP = "k49_classmap.csv"
MOST_COPIES = 0.01  # share of the test images that may be train images, too


@dataclass(frozen=True)
class Checksum:
    """What a file must be: MD5 (32 hexadecimal digits), and size in bytes where known."""

    md5: str
    size: int | None = None

    def __str__(self) -> str:
        return f"{self.size} bytes, MD5 {self.md5}" if self.size else f"MD5 {self.md5}"


# As published after 5 February 2019; older copies have faulty images.
K49_FILES = {
    "k49-train-imgs.npz": Checksum("7ac088b20481cf51dcd01ceaab89d821", 66117696),
    "k49-train-labels.npz": Checksum("44a8e1b893f81e63ff38d73cad420f7a", 164485),
    "k49-test-imgs.npz": Checksum("d352e201d846ce6b94f42c990966f374", 10971201),
    "k49-test-labels.npz": Checksum("4da6f7a62e67a832d5eb1bd85c5ee448", 27450),
    CLASSMAP: Checksum("f7d0d0391f68bdf0fe4cf160ceb85753", 697),
}


def md5(path: Path) -> str:
    """Return a file's MD5, 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def matches(path: Path, checksum: Checksum) -> bool:
    """Return whether a file has the expected size and MD5."""
    if checksum.size not in (None, path.stat().st_size):
        return False
    return md5(path) == checksum.md5


def dataset_name(source: str, folder: Path) -> str:
    """Return the name of the dataset in `folder` that stands beside every figure on it.

    By what the files are: Kuzushiji-49 if they are K49's, from wherever they came; else the last
    name of the folder or the host that they came from, and eight digits of a hash of their
    contents. Never a whole path, nor a user or a password.
    """
    if source == "standin":
        return STANDIN_NAME
    sums = {name: md5(folder / name) for name in K49_FILES}
    if sums == {name: checksum.md5 for name, checksum in K49_FILES.items()}:
        return K49_NAME
    digest = hashlib.sha256("".join(sums.values()).encode()).hexdigest()[:8]
    host = urlsplit(source).hostname if "://" in source else None
    return f"{host or Path(source).expanduser().resolve().name or 'folder'} ({digest})"


def check_content(paths: dict[str, Path]) -> str:
    """Check what is in the five files.

    Args:
        paths: where each lies.

    Returns:
        What is worth a word all the same, or nothing.

    Raises:
        K49Error: shapes, dtypes or labels are not the dataset's, images and labels are not equally
            many, a split is of one single value, test images are train images, or the class map
            is another.
    """
    images = {}
    for split in ("train", "test"):
        path, labels = (paths[name] for name in npz.names(split))
        images[split], _ = npz.read_pair(path, labels)
        if images[split].min() == images[split].max():
            raise K49Error(f"{path}: blank, every pixel is {images[split].max()}")
    if paths[CLASSMAP].read_bytes() != classes.classmap_csv().encode():
        raise K49Error(f"{paths[CLASSMAP]}: not K49's class map (expected: {K49_FILES[CLASSMAP]})")
    found, total = copies(images["train"], images["test"]), len(images["test"])
    if found > MOST_COPIES * total:
        raise K49Error(
            f"{paths['k49-test-imgs.npz']}: {found} of {total} images are train images, too; "
            "accuracy on them would say nothing"
        )
    return f"{found} of {total} test images are train images, too" if found else ""


def copies(train: np.ndarray, test: np.ndarray) -> int:
    """Count the images of `test` that are in `train`, pixel by pixel."""

    def digest(image: np.ndarray) -> bytes:
        return hashlib.blake2b(image.tobytes(), digest_size=16).digest()

    known = {digest(image) for image in train}
    return sum(digest(image) in known for image in test)
