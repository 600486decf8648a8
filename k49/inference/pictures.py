"""Picture files of any size and kind, and arrays of many, as images of K49's kind."""

import io
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from k49.data import IMAGE_SHAPE, npz
from k49.errors import K49Error
from k49.inference.characters import characters
from k49.inference.ink import NoInkError

MOST_PIXELS = 50_000_000  # of a picture: a scanned page has fewer


def read(path: Path) -> tuple[list[tuple[str, np.ndarray]], str]:
    """Read the characters of a picture, or an array: names and images (28, 28) uint8.

    Several characters of a picture, and the rows of an `.npz` or `.npy`, are named `file[0]`,
    `file[1]`, ... Such an array is (N, 28, 28), (N, 28, 28, 1) or (28, 28) uint8, and taken as it
    is. `-` is a picture on standard input.

    Returns:
        The images, and what is doubtful about them, in a few words, or nothing.

    Raises:
        K49Error: the file is missing, neither a picture nor such an array, or without ink.
    """
    if str(path) != "-" and not path.is_file():
        raise K49Error(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    doubt = ""
    if path.suffix.lower() in (".npz", ".npy"):
        images = list(read_array(path))
        single = False
    else:
        try:
            images, doubt = characters(read_grayscale(path))
        except NoInkError as error:
            raise K49Error(f"{path}: {error}") from error
        single = len(images) == 1
    names = [str(path)] if single else [f"{path}[{i}]" for i in range(len(images))]
    return list(zip(names, images, strict=True)), doubt


def read_all(paths: list[Path]) -> tuple[list[tuple[str, np.ndarray]], list[str], list[K49Error]]:
    """Read several files as `read` does.

    Returns:
        Names and images of the files that can be read; what is doubtful, a line for each file; and
        the errors of the files that can't.
    """
    images, notes, faults = [], [], []
    for path in paths:
        try:
            found, doubt = read(path)
        except K49Error as error:
            faults.append(error)
            continue
        images += found
        if doubt:
            notes.append(f"{path}: {doubt}")
    return images, notes, faults


def read_array(path: Path) -> np.ndarray:
    """Read images (N, 28, 28) uint8 of an `.npz` or `.npy` file."""
    if path.suffix.lower() == ".npz":
        return npz.read_images(path)
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except npz.UNREADABLE as error:
        why = " ".join(str(error).split())
        raise K49Error(f"{path}: not a readable npy file: {why}") from error
    if not isinstance(images, np.ndarray):
        images.close()
        raise K49Error(f"{path}: not a readable npy file: an npz archive; name it .npz")
    shapes = (images.shape, images.shape[1:])  # one image, or many
    known = any(shape in (IMAGE_SHAPE, IMAGE_SHAPE[:2]) for shape in shapes)
    if not images.size or images.dtype != np.uint8 or not known:
        raise K49Error(
            f"{path}: holds {images.dtype} of shape {images.shape}, expected uint8 of shape "
            "(N, 28, 28), (N, 28, 28, 1) or (28, 28)"
        )
    return images.reshape(-1, *IMAGE_SHAPE[:2])


def read_grayscale(path: Path) -> np.ndarray:
    """Read a picture as grayscale, (H, W) float32, 0 to 255; transparent parts become paper."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
            opened = Image.open(io.BytesIO(sys.stdin.buffer.read()) if str(path) == "-" else path)
        with opened as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise K49Error(
                    f"{path}: {picture.width} x {picture.height} pixels, more than {MOST_PIXELS:,}"
                    "; cut out one character"
                )
            return to_grayscale(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError as error:
        raise K49Error(f"{path}: not a picture in a known format (PNG, JPEG, TIFF, ...)") from error
    except Image.DecompressionBombError as error:
        raise K49Error(
            f"{path}: more than {MOST_PIXELS:,} pixels; cut out one character"
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise K49Error(f"{path}: a damaged picture: {error}") from error


def to_grayscale(picture: Image.Image) -> np.ndarray:
    """Convert a picture in memory as `read_grayscale` does."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):  # more than 8 bits a pixel
        values = np.asarray(picture, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("not every pixel is a finite number")
        span = max(float(np.ptp(values)), 1.0)
        return ((values - values.min()) / span * 255).astype(np.float32)
    if picture.has_transparency_data:
        ink = picture.convert("RGBA")
        for colour in ("white", "black"):  # black if the ink would vanish on white
            paper = Image.new("RGBA", picture.size, colour)
            picture = Image.alpha_composite(paper, ink)
            if np.ptp(np.asarray(picture.convert("L"))):
                break
    return np.asarray(picture.convert("L"), np.float32)


def stack(images: list[np.ndarray]) -> np.ndarray:
    """Return images (28, 28) as one batch (N, 28, 28, 1) uint8."""
    return np.stack(images)[..., np.newaxis]
