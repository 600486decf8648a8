"""Picture files of any kind, as colours or grey."""

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from k49.errors import K49Error
from k49.pictures.ink import NoInkError

MOST_PIXELS = 50_000_000  # of a picture: a scanned page has fewer
LEAST_ON_WHITE = 64  # grey levels of a transparent picture: with less, its ink is white, too
MOST_REDUCED = 16_000_000  # of a JPEG that is decoded smaller: photographs of phones have 12
MOST_BYTES = 1 << 28  # of a picture on standard input
MOST_PAGES = 1000  # of a TIFF
SUBFILE, NO_PAGE = 254, 5  # tag of a TIFF's page, and its bits for smaller copies and masks
HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")  # kinds of its files


@dataclass(frozen=True)
class UploadedPicture:
    """A picture that somebody sent, who may be anybody: of a common kind, and not large."""

    name: str
    content: bytes = field(repr=False)

    KINDS: ClassVar = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
    MOST_PIXELS: ClassVar = 4_000_000
    MOST_PAGES: ClassVar = 16

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Page:
    """A page of a TIFF that has several."""

    file: Path | UploadedPicture
    number: int  # from 0

    def __str__(self) -> str:
        return f"{self.file} page {self.number + 1}"


Source = Path | UploadedPicture | Page  # of a picture; the path `-` is standard input


@contextmanager
def open_picture(path: Source, most_pixels: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """Open a picture, turned as its camera says.

    Raises:
        K49Error: it is no picture, damaged, or has more pixels. So do errors of Pillow that the
            caller's block lets out: most of a file is read only there.
    """
    file = path.file if isinstance(path, Page) else path
    kinds = None
    if isinstance(file, UploadedPicture):
        kinds, most_pixels = file.KINDS, min(most_pixels, file.MOST_PIXELS)
    advice = f"more than {most_pixels:,}; cut out a part"
    opened = file_of(file)
    if is_heic(opened):
        take_heic(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs, refused below, and of odd metadata
            with Image.open(opened, formats=kinds) as picture:
                pages = [path.number] if isinstance(path, Page) else full_pages(picture)
                picture.seek(pages[0])
                decode_smaller(picture, most_pixels)
                if picture.width * picture.height > most_pixels:
                    size = f"{picture.width} x {picture.height} pixels"
                    raise K49Error(f"{path}: {size}, {advice}")
                upright = ImageOps.exif_transpose(picture)
                upright.info["pages"] = len(pages)
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


def full_pages(picture: Image.Image) -> Sequence[int]:
    """Return the numbers of an opened file's pages; smaller copies and masks are none."""
    if isinstance(picture, JpegImageFile):  # a phone adds depth, or the lights, as other pictures
        return [0]
    pages = range(getattr(picture, "n_frames", 1))
    if not isinstance(picture, TiffImageFile) or len(pages) == 1:
        return pages
    full = []
    for page in pages:
        picture.seek(page)
        if not picture.tag_v2.get(SUBFILE, 0) & NO_PAGE:
            full.append(page)
    return full or [0]


def pages_of(source: Source) -> list[Source]:
    """Return the pages of a TIFF that has several; of anything else, itself.

    Raises:
        K49Error: there are too many.
    """
    if isinstance(source, Page) or str(source) == "-":
        return [source]
    most = source.MOST_PAGES if isinstance(source, UploadedPicture) else MOST_PAGES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file_of(source), formats=("TIFF",)) as picture:
                pages = full_pages(picture)
    except Exception:  # no TIFF, or a damaged one: said when it is read
        return [source]
    if len(pages) > most:
        raise K49Error(f"{source}: {len(pages)} pages, more than {most}; take some of them")
    return [Page(source, page) for page in pages] if len(pages) > 1 else [source]


def is_heic(file: Path | io.BytesIO) -> bool:
    """Return whether a file is HEIC, as phones write it, by its beginning."""
    try:
        head = file.getvalue()[:12] if isinstance(file, io.BytesIO) else read_head(file)
    except OSError:  # said when it is read
        return False
    return head[4:8] == b"ftyp" and head[8:12] in HEIC


def read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)


def take_heic(source: Path | UploadedPicture) -> None:
    """Let Pillow read HEIC by another package.

    Raises:
        K49Error: the package isn't installed, or somebody sent the picture.
    """
    if isinstance(source, UploadedPicture):
        raise K49Error(f"{source}: HEIC; send it as JPEG")
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise K49Error(
            f"{source}: HEIC, which another package reads: `pip install pillow-heif`; or save the "
            "picture as JPEG"
        ) from error
    register_heif_opener()


def decode_smaller(picture: Image.Image, most_pixels: int) -> None:
    """Let a photograph with too many pixels be decoded at a half, a quarter or an eighth.

    Only JPEG can be; it takes no more memory than a smaller one, if its coefficients are few.
    """
    width, height = picture.size
    if not isinstance(picture, JpegImageFile) or not most_pixels < width * height <= MOST_REDUCED:
        return
    factor = next((n for n in (2, 4, 8) if width * height <= n * n * most_pixels), 8)
    picture.draft(picture.mode, (width // factor, height // factor))


def file_of(source: Path | UploadedPicture) -> Path | io.BytesIO:
    if isinstance(source, UploadedPicture):
        return io.BytesIO(source.content)
    return from_standard_input() if str(source) == "-" else source


def from_standard_input() -> io.BytesIO:
    """Return the content of standard input."""
    content = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise K49Error(f"standard input: more than {MOST_BYTES:,} bytes, too many for a picture")
    return io.BytesIO(content)


def read_page(path: Source, most_pixels: int = MOST_PIXELS) -> tuple[np.ndarray, str]:
    """Read a picture: colours (H, W, 3) uint8, or grey (H, W) float32, 0 to 255.

    Transparent parts become paper. Of a file with several pages the first is read, and a note says
    so; else the note is "". TIFF, GIF, WebP and PNG may have several.
    """
    with open_picture(path, most_pixels) as picture:
        return to_array(picture), other_pages(picture)


def other_pages(picture: Image.Image) -> str:
    """Say that an opened picture is the first page of several; "" of a single one."""
    pages = picture.info["pages"]
    return f"has {pages} pages, of which the first is read" if pages > 1 else ""


def to_array(picture: Image.Image) -> np.ndarray:
    """Return an opened picture as an array; as `read_page`."""
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
