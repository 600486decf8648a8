"""Picture files of any size and polarity, and arrays of many, as images of K49's kind."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from k49.data import IMAGE_SHAPE, npz
from k49.errors import K49Error

MOST_PIXELS = 50_000_000  # of a picture: a scanned page has fewer


def read_pictures(paths: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and images (28, 28) uint8, light ink on black, of picture files and arrays.

    An `.npz` in the dataset's format or an `.npy` (N, 28, 28) or (N, 28, 28, 1) uint8 gives an
    image for each row, named `file[row]`.

    Raises:
        K49Error: a file is missing, or neither a picture nor such an array.
    """
    for path in paths:
        if not path.is_file():
            raise K49Error(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
        if path.suffix in (".npz", ".npy"):
            for i, image in enumerate(read_array(path)):
                yield f"{path}[{i}]", image
        else:
            yield str(path), read_picture(path)


def read_array(path: Path) -> np.ndarray:
    """Images (N, 28, 28) uint8 of an `.npz` or `.npy` file."""
    if path.suffix == ".npz":
        return npz.read_images(path)
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except npz.UNREADABLE as error:
        why = " ".join(str(error).split())
        raise K49Error(f"{path}: not a readable npy file: {why}") from error
    if not isinstance(images, np.ndarray):
        images.close()
        raise K49Error(f"{path}: not a readable npy file: an npz archive; name it .npz")
    if (
        not images.size
        or images.dtype != np.uint8
        or images.shape[1:] not in (IMAGE_SHAPE, IMAGE_SHAPE[:2])
    ):
        raise K49Error(
            f"{path}: holds {images.dtype} of shape {images.shape}, expected uint8 of shape "
            "(N, 28, 28) or (N, 28, 28, 1)"
        )
    return images.reshape(-1, *IMAGE_SHAPE[:2])


def read_picture(path: Path) -> np.ndarray:
    """A picture as K49 has them: grey, 28 x 28, light ink on black, full contrast.

    Transparent parts become paper. Dark ink on light paper, which is what the border shows, is
    inverted. The longer side fills 28 pixels; the shorter is filled up with paper.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
            opened = Image.open(path)
        with opened as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise K49Error(
                    f"{path}: {picture.width} x {picture.height} pixels, more than {MOST_PIXELS:,}"
                    "; cut out one character"
                )
            return to_image(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError as error:
        raise K49Error(f"{path}: not a picture in a known format (PNG, JPEG, TIFF, ...)") from error
    except Image.DecompressionBombError as error:
        raise K49Error(
            f"{path}: more than {MOST_PIXELS:,} pixels; cut out one character"
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise K49Error(f"{path}: a damaged picture: {error}") from error


def to_image(picture: Image.Image) -> np.ndarray:
    """`read_picture` for a picture in memory; (28, 28) uint8."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):  # more than 8 bits a pixel
        values = np.asarray(picture, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("not every pixel is a finite number")
        span = max(float(np.ptp(values)), 1.0)
        picture = Image.fromarray(((values - values.min()) / span * 255).astype(np.uint8))
    if picture.has_transparency_data:
        ink = picture.convert("RGBA")
        for colour in ("white", "black"):  # black if the ink would vanish on white
            paper = Image.new("RGBA", picture.size, colour)
            picture = Image.alpha_composite(paper, ink)
            if np.ptp(np.asarray(picture.convert("L"))):
                break
    grey = np.asarray(picture.convert("L"))
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(border) > 127:
        grey = 255 - grey
    picture = ImageOps.autocontrast(Image.fromarray(grey))
    picture = ImageOps.pad(picture, IMAGE_SHAPE[:2], Image.Resampling.LANCZOS, color=0)
    return np.asarray(picture, np.uint8)


def stack(images: tuple[np.ndarray, ...]) -> np.ndarray:
    """Images (28, 28) as one batch (N, 28, 28, 1) uint8."""
    return np.stack(images)[..., np.newaxis]
