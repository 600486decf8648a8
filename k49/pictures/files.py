"""Picture files of any kind, as grayscale."""

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from k49.errors import K49Error
from k49.pictures.ink import NoInkError

MOST_PIXELS = 50_000_000  # of a picture: a scanned page has fewer
LEAST_ON_WHITE = 64  # grey levels of a transparent picture: with less, its ink is white, too
MOST_REDUCED = 16_000_000  # of a JPEG that is decoded smaller: photographs of phones have 12
MOST_BYTES = 1 << 28  # of a picture on standard input


@dataclass(frozen=True)
class UploadedPicture:
    """A picture that somebody sent, who may be anybody: of a common kind, and not large."""

    name: str
    content: bytes

    KINDS: ClassVar = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
    MOST_PIXELS: ClassVar = 4_000_000

    def __str__(self) -> str:
        return self.name


Source = Path | UploadedPicture  # of a picture; the path `-` is standard input


@contextmanager
def open_picture(path: Source, most_pixels: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """Open a picture, turned as its camera says.

    Raises:
        K49Error: it is no picture, damaged, or has more pixels. So do errors of Pillow that the
            caller's block lets out: most of a file is read only there.
    """
    kinds = None
    if isinstance(path, UploadedPicture):
        kinds, most_pixels = path.KINDS, min(most_pixels, path.MOST_PIXELS)
    advice = f"more than {most_pixels:,}; cut out one character"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs, refused below, and of odd metadata
            with Image.open(file_of(path), formats=kinds) as picture:
                decode_smaller(picture, most_pixels)
                if picture.width * picture.height > most_pixels:
                    size = f"{picture.width} x {picture.height} pixels"
                    raise K49Error(f"{path}: {size}, {advice}")
                pages = getattr(picture, "n_frames", 1)
                upright = ImageOps.exif_transpose(picture)
                upright.info["pages"] = pages
                yield upright
    except (K49Error, NoInkError):
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(kinds or ("PNG", "JPEG", "TIFF", "..."))
        raise K49Error(f"{path}: not a picture in a known format ({known})") from error
    except Image.DecompressionBombError as error:
        raise K49Error(f"{path}: {advice}") from error
    except Exception as error:  # whatever one of Pillow's forty readers raises
        raise K49Error(
            f"{path}: a damaged picture: {str(error) or type(error).__name__}"
        ) from error


def decode_smaller(picture: Image.Image, most_pixels: int) -> None:
    """Let a photograph with too many pixels be decoded at a half, a quarter or an eighth.

    Only JPEG can be; it takes no more memory than a smaller one, if its coefficients are few.
    """
    width, height = picture.size
    if picture.format != "JPEG" or not most_pixels < width * height <= MOST_REDUCED:
        return
    factor = next((n for n in (2, 4, 8) if width * height <= n * n * most_pixels), 8)
    picture.draft(picture.mode, (width // factor, height // factor))


def file_of(source: Source) -> Path | io.BytesIO:
    if isinstance(source, UploadedPicture):
        return io.BytesIO(source.content)
    return from_standard_input() if str(source) == "-" else source


def from_standard_input() -> io.BytesIO:
    """Return the content of standard input."""
    content = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise K49Error(f"standard input: more than {MOST_BYTES:,} bytes, too many for a picture")
    return io.BytesIO(content)


def read_colours(path: Source, most_pixels: int = MOST_PIXELS) -> np.ndarray:
    """Read a picture: colours (H, W, 3) uint8, or grey (H, W) float32, 0 to 255.

    Transparent parts become paper.
    """
    with open_picture(path, most_pixels) as picture:
        return to_array(picture)


def read_page(path: Source) -> tuple[np.ndarray, str]:
    """Read the first page of a file as `read_colours`; say so if there are others, or "".

    TIFF, GIF, WebP and PNG may have several.
    """
    with open_picture(path) as picture:
        return to_array(picture), other_pages(picture)


def other_pages(picture: Image.Image) -> str:
    """Say that an opened picture is the first page of several; "" of a single one."""
    pages = picture.info["pages"]
    return f"has {pages} pages, of which the first is read" if pages > 1 else ""


def to_array(picture: Image.Image) -> np.ndarray:
    """Return an opened picture as an array; as `read_colours`."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):  # more than 8 bits a pixel
        values = np.asarray(picture, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("not every pixel is a finite number")
        span = max(float(np.ptp(values)), 1.0)
        return ((values - values.min()) / span * 255).astype(np.float32)
    if picture.mode == "LAB":
        picture = from_lab(picture)
    picture = on_paper(picture)
    if picture.mode in ("1", "L", "LA"):
        return np.asarray(picture.convert("L"), np.float32)
    return np.asarray(picture.convert("RGB"))


def from_lab(picture: Image.Image) -> Image.Image:
    """Convert a picture of CIE L*a*b* colours, which Pillow's `convert` can't."""
    lab, srgb = (ImageCms.createProfile(name) for name in ("LAB", "sRGB"))
    converted = ImageCms.applyTransform(picture, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    if converted is None:  # only where it is asked to change the picture itself
        raise ValueError("no conversion from LAB")
    return converted


def on_paper(picture: Image.Image) -> Image.Image:
    """Put white paper behind a picture's transparent parts; black, if its ink vanishes on white."""
    if picture.has_transparency_data:
        ink = picture.convert("RGBA")
        for colour in ("white", "black"):
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, colour), ink)
            if np.ptp(np.asarray(picture.convert("L"))) >= LEAST_ON_WHITE:
                break
    return picture
