"""How well characters are read in pictures as people have them: paper, light, camera, neighbours.

In a project's folder, after `dvc repro`, with the test images and the model of that project:

    python -m benchmarks.pictures [--count 100] [--save FOLDER] [CONDITION ...]

Each condition composes a picture of one test image, 280 pixels high, or of several, with whatever
else is in such pictures; each is read as by `k49 predict`. Prints the tables of
benchmarks/pictures.md: percent of the characters that are read correctly, of the pictures that are
refused, of the characters that are marked (uncertain, or unlike the training images), and of the
pictures that are read wrongly without a mark or a note; and the time of a picture. `--save` keeps
three pictures of each condition with the images that the network reads.
"""

import argparse
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFont
from scipy import ndimage

from k49.data import spread
from k49.errors import K49Error
from k49.inference.models import Model, project_model
from k49.inference.predict import layout_by, predict, read, stack
from k49.io import read_npy

SIDE = 280  # pixels, of a character
MARGIN = 0.2  # of it, on each side
WHITE, BLACK = (245, 245, 245), (30, 30, 30)
RED, BLUE = (190, 40, 40), (40, 60, 160)
Ink = np.ndarray  # (H, W), 0 for paper to 1 for ink
Page = np.ndarray  # (H, W, 3), 0 to 255
Inks = list[Ink]
Rng = np.random.Generator
Colour = tuple[float, float, float]
Shape = tuple[int, ...]
Picture = Page | Image.Image | bytes
Compose = Callable[[Inks, Rng], Picture]
CONDITIONS: dict[str, tuple[Compose, int]] = {}  # and how many characters each is of


def add(name: str, compose: Callable, *arguments: object, of: int = 1) -> None:
    """Add a condition; `compose` gets the ink of characters, a generator, and the arguments."""
    CONDITIONS[name] = (lambda inks, rng: compose(inks, rng, *arguments)), of


def condition(name: str, of: int = 1) -> Callable[[Compose], Compose]:
    """Add the function below as a condition."""

    def added(compose: Compose) -> Compose:
        add(name, compose, of=of)
        return compose

    return added


# --- parts of pictures ---


def enlarged(image: np.ndarray, side: float = SIDE) -> Ink:
    """Enlarge an image smoothly."""
    size = [max(round(side * length / max(image.shape)), 1) for length in image.shape[::-1]]
    large = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(large, np.float64) / 255


def framed(ink: Ink, margin: float = MARGIN) -> Ink:
    return np.pad(ink, round(margin * max(ink.shape)))


def printed(ink: Ink, paper: Colour = WHITE, colour: Colour = BLACK) -> Page:
    return over(np.full((*ink.shape, 3), paper, np.float64), ink, colour)


def over(page: Page, ink: Ink, colour: Colour = BLACK) -> Page:
    """Cover a page with ink of a colour."""
    return page * (1 - ink[..., None]) + np.array(colour, np.float64) * ink[..., None]


def noisy(page: Page, rng: Rng, level: float) -> Page:
    return page + rng.normal(0, level, page.shape)


def drawn(shape: Shape, draw: Callable[[ImageDraw.ImageDraw], None]) -> Ink:
    """Draw on an empty page, twice as fine."""
    fine = Image.new("L", (shape[1] * 2, shape[0] * 2))
    draw(ImageDraw.Draw(fine))
    return np.asarray(fine.resize(shape[::-1], Image.Resampling.BOX), np.float64) / 255


def lines(
    shape: Shape, places: Iterable[float], down: bool, width: float, tilt: float = 0.0
) -> Ink:
    """Lines from edge to edge, at these places, perhaps a little tilted."""

    def draw(canvas: ImageDraw.ImageDraw) -> None:
        for place in places:
            a, b = 2 * place, 2 * (place + tilt * shape[0 if down else 1])
            ends = [(a, 0), (b, 2 * shape[0])] if down else [(0, a), (2 * shape[1], b)]
            canvas.line(ends, fill=255, width=max(round(2 * width), 1))

    return drawn(shape, draw)


def seal(shape: Shape, centre: Sequence[float], side: float, rng: Rng) -> Ink:
    """A square seal with some strokes of a sign in it."""
    y, x = centre

    def draw(canvas: ImageDraw.ImageDraw) -> None:
        def line(*points: tuple[float, float], width: float = 0.09) -> None:
            places = [(2 * (x + side * a), 2 * (y + side * b)) for a, b in points]
            canvas.line(places, fill=255, width=max(round(2 * side * width), 2))

        h = 0.5
        line((-h, -h), (h, -h), (h, h), (-h, h), (-h, -h), (h, -h), width=0.1)
        for at in (-0.22, 0.02, 0.26):
            line((-0.32, at), (0.32, at + rng.uniform(-0.03, 0.03)), width=0.08)
        line((0, -0.36), (rng.uniform(-0.05, 0.05), 0.38), width=0.08)

    return drawn(shape, draw)


def encoded(picture: Image.Image, form: str, **options) -> bytes:
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def as_picture(page: Page) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(page), 0, 255).astype(np.uint8))


def half_plane(shape: Shape, rng: Rng) -> np.ndarray:
    """The soft-edged half plane of a hard shadow, 0 to 1."""
    rows, columns = np.mgrid[-0.5 : 0.5 : shape[0] * 1j, -0.5 : 0.5 : shape[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    across = np.cos(angle) * rows + np.sin(angle) * columns - rng.uniform(-0.2, 0.2)
    return 1 / (1 + np.exp(-150 * across))


# --- paper, ink and light ---


def plain(
    inks: Inks, rng: Rng, paper: Colour = WHITE, colour: Colour = BLACK, noise: float = 3.0
) -> Page:
    return noisy(printed(framed(inks[0]), paper, colour), rng, noise)


def grey(level: float) -> tuple[float, float, float]:
    return (level,) * 3


add("clean", plain, (255, 255, 255), BLACK, 0.0)
add(
    "hard edges", lambda inks, rng: printed(framed(inks[0] > 0.5).astype(float), grey(255), grey(0))
)
add("brown paper", plain, (190, 160, 110))
add("blue paper", plain, (140, 170, 210))
add("blue ink", plain, WHITE, BLUE)
add("red ink", plain, WHITE, RED)
add("seal-red ink on brown paper", plain, (205, 180, 140), RED)
add("blackboard", plain, (40, 60, 50), (230, 230, 225))
add("low contrast, 150 on 182", plain, grey(182), grey(150))
add("faint, 210 on 235", plain, grey(235), grey(210))
add("yellow highlighter as ink", plain, WHITE, (250, 240, 90))
add("red on green of equal brightness", plain, (60, 150, 60), (190, 86, 80))
add("night photograph, noise 25", plain, grey(150), grey(40), 25)


@condition("shadow as a gradient")
def gradient(inks: Inks, rng: Rng) -> Page:
    page = plain(inks, rng)
    rows, columns = np.mgrid[-0.5 : 0.5 : page.shape[0] * 1j, -0.5 : 0.5 : page.shape[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    share = np.clip(np.cos(angle) * rows + np.sin(angle) * columns + 0.5, 0, 1)
    return noisy(page * (0.35 + 0.65 * share)[..., None], rng, 3)


@condition("hard shadow, half the light")
def hard_shadow(inks: Inks, rng: Rng) -> Page:
    page = plain(inks, rng)
    return noisy(page * (1 - 0.5 * half_plane(page.shape[:2], rng))[..., None], rng, 3)


@condition("glare")
def glare(inks: Inks, rng: Rng) -> Page:
    page = plain(inks, rng, grey(200))
    spot = np.zeros(page.shape[:2])
    y, x = (rng.uniform(0.25, 0.75) * length for length in spot.shape)
    rows, columns = np.indices(spot.shape)
    away = np.hypot(rows - y, columns - x) / (0.22 * spot.shape[0])
    return page + 120 * np.exp(-(away**2))[..., None]


@condition("highlighter behind")
def highlighted(inks: Inks, rng: Rng) -> Page:
    ink = framed(inks[0])
    page = np.full((*ink.shape, 3), WHITE, np.float64)
    height = ink.shape[0]
    page[round(0.3 * height) : round(0.75 * height)] = (250, 240, 90)
    return noisy(over(page, ink), rng, 3)


def behind(inks: Inks, rng: Rng, share: float) -> Page:
    """The ink of the other side of the leaf, mirrored."""
    ink, other = framed(inks[0]), framed(inks[1])[:, ::-1]
    other = np.roll(other, (rng.integers(-60, 60), rng.integers(-60, 60)), (0, 1))
    other = ndimage.gaussian_filter(other, 2)
    return noisy(printed(np.maximum(ink, share * other)), rng, 3)


for percent in (15, 30, 45):
    add(f"bleed-through {percent} %", behind, percent / 100)


@condition("wormholes and a fold")
def worn(inks: Inks, rng: Rng) -> Page:
    page = plain(inks, rng, (225, 210, 180))
    shape = page.shape[:2]

    def draw(canvas: ImageDraw.ImageDraw) -> None:
        for _ in range(6):
            y, x = rng.uniform(0.1, 0.9, 2) * shape
            a, b = rng.uniform(4, 11, 2)
            canvas.ellipse([2 * (x - a), 2 * (y - b), 2 * (x + a), 2 * (y + b)], fill=255)

    page = over(page, drawn(shape, draw), rng.choice([grey(40), grey(250)]))
    fold = lines(shape, [rng.uniform(0.3, 0.7) * shape[0]], False, 3, rng.uniform(-0.05, 0.05))
    return over(page, 0.5 * ndimage.gaussian_filter(fold, 1.5), (120, 105, 85))


# --- strokes and sharpness ---


def thick(inks: Inks, rng: Rng, pixels: float) -> Page:
    ink = framed(inks[0])
    return noisy(
        printed(ndimage.gaussian_filter(ndimage.grey_dilation(ink, footprint=disk(pixels / 2)), 1)),
        rng,
        3,
    )


def disk(radius: float) -> np.ndarray:
    reach = np.arange(-int(radius), int(radius) + 1)
    return np.hypot(*np.meshgrid(reach, reach)) <= radius


def thin(inks: Inks, rng: Rng, share: float) -> Page:
    from skimage.morphology import skeletonize

    ink = skeletonize(framed(inks[0]) > 0.5)
    pencil = ndimage.distance_transform_edt(~ink) <= share * SIDE / 2
    return noisy(
        printed(ndimage.gaussian_filter(pencil.astype(float), 0.8), WHITE, grey(90)), rng, 3
    )


def blurred(inks: Inks, rng: Rng, share: float) -> Page:
    return noisy(printed(ndimage.gaussian_filter(framed(inks[0]), share * SIDE)), rng, 3)


def moved(inks: Inks, rng: Rng, pixels: float) -> Page:
    ink, angle = framed(inks[0]), rng.uniform(0, np.pi)
    steps = np.linspace(-0.5, 0.5, 21) * pixels
    shifted = [ndimage.shift(ink, (s * np.sin(angle), s * np.cos(angle)), order=1) for s in steps]
    return noisy(printed(np.mean(shifted, 0)), rng, 3)


def skewed(inks: Inks, rng: Rng, degrees: float) -> Page:
    ink = framed(inks[0], 0.3)
    return noisy(
        printed(
            np.clip(
                ndimage.rotate(ink, rng.choice([-1, 1]) * degrees, reshape=False, order=1), 0, 1
            )
        ),
        rng,
        3,
    )


add("thick marker, + 16 of 280 pixels", thick, 16)
add("thick marker, + 28 of 280 pixels", thick, 28)
add("thin pencil, 3 %", thin, 0.03)
add("thin pencil, 1.8 %", thin, 0.018)
add("blurred, 3 %", blurred, 0.03)
add("blurred, 6 %", blurred, 0.06)
add("moved by 40 of 280 pixels", moved, 40)
add("skewed by 10 degrees", skewed, 10)
add("skewed by 20 degrees", skewed, 20)


# --- margins ---


def alone(inks: Inks, rng: Rng, side: float, page_side: int) -> Page | Image.Image:
    """A character of `side` pixels somewhere on a page."""
    small = np.asarray(
        Image.fromarray(inks[0].astype(np.float32)).resize((side, side), Image.Resampling.BOX)
    )
    ink = np.zeros((page_side, page_side))
    y, x = rng.integers(0, page_side - side, 2)
    ink[y : y + side, x : x + side] = small
    if page_side > 2000:  # in grey, for its size
        return Image.fromarray(np.uint8(245 - 215 * ink))
    return noisy(printed(ink), rng, 3)


for part, name in (
    (3, "third"),
    (4, "quarter"),
    (5, "fifth"),
    (6, "sixth"),
    (8, "eighth"),
    (12, "twelfth"),
):
    add(f"margin: a {name} of the side", alone, 140, 140 * part)
add("40 megapixels, 560 pixels high", alone, 560, 6324)
add("40 megapixels, 300 pixels high", alone, 300, 6324)


def small(inks: Inks, rng: Rng, side: float) -> Image.Image:
    ink = framed(inks[0])
    size = round(side * (1 + 2 * MARGIN))
    return as_picture(noisy(printed(ink), rng, 3)).resize((size, size), Image.Resampling.BOX)


add("14 pixels", small, 14)
add("20 pixels", small, 20)


def cropped(inks: Inks, rng: Rng, share: float) -> Page:
    """Cut off on all sides, so much of the character."""
    edge = round(share * SIDE)
    ys, xs = (np.flatnonzero(inks[0].max(axis) > 0.5) for axis in (1, 0))
    ink = inks[0][ys[0] + edge : ys[-1] + 1 - edge, xs[0] + edge : xs[-1] + 1 - edge]
    return noisy(printed(ink), rng, 3)


add("crop that cuts 4 % off", cropped, 0.04)
add("crop touches the ink on all sides", cropped, 0.0)


# --- what isn't the character ---


def ruled(
    inks: Inks, rng: Rng, colour: Colour, gap: float, margin_line: Colour | None = None
) -> Page:
    """Lined paper; with a gap of up to 50 pixels, squared."""
    ink = framed(inks[0])
    tilt, start = rng.uniform(-0.01, 0.01), rng.uniform(0, gap)
    width = 3 if gap > 50 else 2
    rules = lines(ink.shape, np.arange(start, ink.shape[0], gap), False, width, tilt)
    if gap <= 50:
        places = np.arange(start, ink.shape[1], gap)
        rules = np.maximum(rules, lines(ink.shape, places, True, width, -tilt))
    page = printed(rules, WHITE, colour)
    if margin_line:
        place = rng.uniform(0.1, 0.3) * ink.shape[1]
        page = over(page, lines(ink.shape, [place], True, 4.5), margin_line)
    return noisy(over(page, ink), rng, 3)


add("pale blue lines", ruled, (170, 200, 235), 70)
add("pale blue squares", ruled, (170, 200, 235), 50)
add("lined paper, dark grey lines", ruled, grey(90), 70)
add("lined paper, red margin line", ruled, (110, 140, 210), 70, (220, 80, 80))
add("squared paper, grey 150", ruled, grey(150), 50)


@condition("practice sheet: a box with a dotted cross")
def practice(inks: Inks, rng: Rng) -> Page:
    ink = framed(inks[0], 0.3)
    high, wide = ink.shape
    edge = 0.08 * high

    def draw(canvas: ImageDraw.ImageDraw) -> None:
        box = [2 * edge, 2 * edge, 2 * (wide - edge), 2 * (high - edge)]
        canvas.rectangle(box, outline=255, width=6)
        for at in np.arange(edge, high - edge, 12):
            canvas.line([(wide, 2 * at), (wide, 2 * at + 10)], fill=255, width=4)
            canvas.line([(2 * at, high), (2 * at + 10, high)], fill=255, width=4)

    return noisy(over(printed(drawn(ink.shape, draw), WHITE, grey(120)), ink), rng, 3)


@condition("frame around, clear of the ink")
def frame(inks: Inks, rng: Rng) -> Page:
    ink = framed(inks[0], 0.3)
    edge = rng.uniform(0.05, 0.1) * ink.shape[0]

    def draw(canvas: ImageDraw.ImageDraw) -> None:
        canvas.rectangle(
            [2 * edge, 2 * edge, *(2 * (length - edge) for length in ink.shape)],
            outline=255,
            width=8,
        )

    return noisy(printed(np.maximum(ink, drawn(ink.shape, draw))), rng, 3)


def rules(inks: Inks, rng: Rng, sides: int) -> Page:
    ink = framed(inks[0], 0.3)
    wide = ink.shape[1]
    places = [(0.07 + rng.uniform(0, 0.05)) * wide, (0.93 - rng.uniform(0, 0.05)) * wide][:sides]
    rule = lines(ink.shape, places, True, rng.uniform(2, 5), rng.uniform(-0.015, 0.015))
    return noisy(printed(np.maximum(ink, rule)), rng, 3)


add("rules on both sides", rules, 2)
add("a rule at the left", rules, 1)


def edges(inks: Inks, rng: Rng, left: bool, share: float) -> Page:
    page = plain(inks, rng)
    height, width = page.shape[:2]
    deep = round(share * height)
    page[:, width - deep :] = 15
    if left:
        page[:, :deep] = page[:deep] = page[height - deep :] = 15
    return noisy(page, rng, 3)


add("black scan edge at the right, 8 %", edges, False, 0.08)
add("black scan edge all around, 6 %", edges, True, 0.06)


@condition("fragments of the characters above and below", of=3)
def fragments(inks: Inks, rng: Rng) -> Page:
    ink = framed(inks[0])
    deep = round(rng.uniform(0.1, 0.14) * SIDE)
    left = round(MARGIN * SIDE)
    for part, rows in ((inks[1][-deep:], slice(0, deep)), (inks[2][:deep], slice(-deep, None))):
        ink[rows, left : left + SIDE] = part
    return noisy(printed(ink), rng, 3)


def desk(inks: Inks, rng: Rng, colour: Colour) -> Page:
    sheet = plain(inks, rng)
    page = np.full((round(1.5 * sheet.shape[0]), round(1.5 * sheet.shape[1]), 4), 0.0)
    top, left = ((a - b) // 2 for a, b in zip(page.shape, sheet.shape[:2], strict=False))
    page[top : top + len(sheet), left : left + len(sheet[0])] = np.dstack(
        [sheet, np.full(sheet.shape[:2], 1.0)]
    )
    page = ndimage.rotate(page, rng.uniform(-6, 6), reshape=False, order=1)
    return noisy(page[..., :3] + (1 - page[..., 3:]) * np.array(colour), rng, 5)


add("sheet on a dark desk", desk, (70, 50, 35))
add("sheet on a pale desk", desk, (205, 190, 170))


@condition("a finger in the corner")
def finger(inks: Inks, rng: Rng) -> Page:
    page = plain(inks, rng)
    shape = page.shape[:2]

    def draw(canvas: ImageDraw.ImageDraw) -> None:
        a = 0.3 * shape[0]
        canvas.ellipse([2 * -a, 2 * (shape[0] - a), 2 * a, 2 * (shape[0] + 2 * a)], fill=255)

    return noisy(
        over(page, ndimage.gaussian_filter(drawn(shape, draw), 2), (200, 150, 125)), rng, 3
    )


@condition("page number in the corner")
def page_number(inks: Inks, rng: Rng) -> Page:
    ink = framed(inks[0], 0.3)
    font = ImageFont.load_default(size=2 * 36)
    number = str(rng.integers(10, 400))
    corner = drawn(ink.shape, lambda canvas: canvas.text((2 * 14, 2 * 10), number, 255, font))
    return noisy(printed(np.maximum(ink, corner)), rng, 3)


def sealed(inks: Inks, rng: Rng, colour: Colour, centre: Sequence[float], side: float) -> Page:
    """A seal of colour, which darkens what it covers."""
    ink = framed(inks[0], 0.3)
    place = np.array(centre) * ink.shape + rng.uniform(-0.03, 0.03, 2) * ink.shape
    mark = 0.9 * seal(ink.shape, place, side * SIDE, rng)
    return noisy(printed(ink) * (1 - mark[..., None] * (1 - np.array(colour) / 245)), rng, 3)


add("red seal over the character", sealed, RED, (0.55, 0.55), 0.6)
add("pale red seal over the character", sealed, (235, 150, 140), (0.55, 0.55), 0.6)
add("red seal beside the character", sealed, RED, (0.13, 0.87), 0.22)


# --- files ---


@condition("JPEG quality 8")
def jpeg(inks: Inks, rng: Rng) -> bytes:
    return encoded(as_picture(plain(inks, rng)), "JPEG", quality=8)


@condition("EXIF: lies on its side")
def turned(inks: Inks, rng: Rng) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(as_picture(np.rot90(plain(inks, rng))), "PNG", exif=exif)


def cut_out(inks: Inks, rng: Rng, level: int) -> Image.Image:
    alpha = Image.fromarray(np.uint8(255 * framed(inks[0])))
    return Image.merge("LA", (Image.new("L", alpha.size, level), alpha))


add("black ink on transparent ground", cut_out, 0)
add("near-white ink on transparent ground", cut_out, 240)


@condition("CMYK JPEG")
def cmyk(inks: Inks, rng: Rng) -> bytes:
    return encoded(as_picture(plain(inks, rng)).convert("CMYK"), "JPEG")


@condition("LAB TIFF")
def lab(inks: Inks, rng: Rng) -> bytes:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    return encoded(ImageCms.applyTransform(as_picture(plain(inks, rng)), to_lab), "TIFF")


@condition("16 bits")
def deep(inks: Inks, rng: Rng) -> Image.Image:
    return Image.fromarray((plain(inks, rng).mean(2) * 250).clip(0, 65535).astype(np.uint16))


@condition("GIF")
def gif(inks: Inks, rng: Rng) -> bytes:
    return encoded(as_picture(plain(inks, rng)).quantize(32), "GIF")


def one_bit(inks: Inks, rng: Rng, paper: float, dither: Image.Dither) -> Image.Image:
    return as_picture(plain(inks, rng, grey(paper))).convert("L").convert("1", dither=dither)


add("fax, 1 bit", one_bit, 245, Image.Dither.NONE)
add("1 bit, paper dithered", one_bit, 190, Image.Dither.FLOYDSTEINBERG)


# --- several characters ---


def line(
    inks: Inks, rng: Rng, gap: float, down: bool = True, sizes: tuple[int, int] = (140, 140)
) -> Page:
    """Characters in a column or row, `gap` of their size apart."""
    parts = [cut(ink, rng.integers(*sizes, endpoint=True)) for ink in inks]
    axis = 0 if down else 1
    across = max(part.shape[1 - axis] for part in parts)
    padded = []
    for part in parts:
        before = (across - part.shape[1 - axis]) // 2
        around = (before, across - part.shape[1 - axis] - before)
        after = (0, round(gap * 140))
        padded.append(np.pad(part, (after, around) if down else (around, after)))
    return noisy(printed(np.pad(np.concatenate(padded, axis), 40)), rng, 3)


def cut(ink: Ink, side: float) -> Ink:
    """Cut to the ink, and scale the longer side."""
    ys, xs = (np.flatnonzero(ink.max(axis) > 0.4) for axis in (1, 0))
    part = Image.fromarray(ink[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].astype(np.float32))
    size = [max(round(length * side / max(part.size)), 1) for length in part.size]
    return np.asarray(part.resize(size, Image.Resampling.BICUBIC)).clip(0, 1)


def columns(inks: Inks, rng: Rng, count: int) -> Page:
    """Columns, read from the right."""
    length = len(inks) // count
    pages = [line(inks[i * length : (i + 1) * length], rng, 0.2) for i in range(count)]
    height = max(map(len, pages))
    return np.concatenate(
        [
            np.pad(page, ((0, height - len(page)), (0, 0), (0, 0)), mode="edge")
            for page in pages[::-1]
        ],
        1,
    )


def tilted(inks: Inks, rng: Rng, compose: Callable, *arguments: object) -> Page:
    """A page tilted by 4 degrees, as a photograph."""
    page = np.pad(compose(inks, rng, *arguments), ((60, 60), (60, 60), (0, 0)), mode="edge")
    return ndimage.rotate(page, rng.choice([-4, 4]), reshape=False, order=1, mode="nearest")


for gap in (5, 10, 15, 30):
    add(f"column of 4, gaps of {gap} %", line, gap / 100, of=4)
add("column of 2, gap of 10 %", line, 0.1, of=2)
add("column of 6, gaps of 10 %", line, 0.1, of=6)
add("column of 4 of unequal sizes, gaps of 10 %", line, 0.1, True, (90, 150), of=4)
add("row of 4, gaps of 10 %", line, 0.1, False, of=4)
add("row of 4, gaps of 30 %", line, 0.3, False, of=4)
add("2 columns of 4", columns, 2, of=8)
add("5 columns of 8", columns, 5, of=40)
add("column of 4, gaps of 5 %, tilted by 4 degrees", tilted, line, 0.05, of=4)
add("5 columns of 8, tilted by 4 degrees", tilted, columns, 5, of=40)


# --- reading ---


HEAD = """\
| condition | right | refused | marked | wrong, unmarked | ms |
|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="pictures of each condition")
    parser.add_argument("--save", type=Path, help="a folder for some of them")
    parser.add_argument("conditions", nargs="*", help="parts of their names; all by default")
    options = parser.parse_args()
    wanted = options.conditions or [""]
    chosen = [name for name in CONDITIONS if any(part in name for part in wanted)]
    print(HEAD)
    with ProcessPoolExecutor(2) as pool:
        rows = pool.map(partial(measured, count=options.count, save=options.save), chosen)
        for row in rows:
            print(row, flush=True)


def measured(name: str, count: int, save: Path | None) -> str:
    """Return the table's row of a condition."""
    compose, of = CONDITIONS[name]
    model = project_model(Path("models"), threads=1)
    images, labels = (read_npy(Path(f"data/raw/test_{part}.npy")) for part in ("images", "labels"))
    every = "column" in name or "row of" in name  # whether all that is composed is to be read
    chosen = spread(len(images), count if not every else -(-2 * count // of))
    right, refused, marked, unmarked, seconds = [], [], [], [], []
    with TemporaryDirectory() as folder:
        for number, row in enumerate(chosen):
            rng = np.random.default_rng([49, number])
            rows = [row, *rng.choice(len(images), max(of, 2) - 1)]
            path = store(compose([enlarged(images[i]) for i in rows], rng), Path(folder))
            truth = [model.dataset.classes[labels[i]] for i in (rows if every else rows[:1])]
            start = perf_counter()
            try:
                characters, note = read(path, model.dataset, layout_by(model))
            except K49Error:
                characters, note = [], ""
            seconds.append(perf_counter() - start)
            answers = answers_of(model, [image for _, image in characters])
            doubts = [answer["uncertain"] or answer["outlier"] for answer in answers]
            same = len(answers) == len(truth)
            hits = [same and answers[i]["character"] == sign for i, sign in enumerate(truth)]
            right += hits
            refused.append(not answers)
            marked += doubts or [False]
            unmarked.append(bool(answers) and not (all(hits) or any(doubts) or "several" in note))
            if save and number < 3:
                keep(path, characters, save / f"{name}-{number}.png")
    shares = (f"{100 * np.mean(values):.0f}" for values in (right, refused, marked, unmarked))
    return f"| {name} | {' | '.join(shares)} | {1000 * np.median(seconds):.0f} |"


def answers_of(model: Model, images: list[np.ndarray]) -> list[dict]:
    """Return the likeliest class of each image."""
    return [best for (best,) in predict(model, stack(images), 1)] if images else []


def store(page: Picture, folder: Path) -> Path:
    """Write a picture as a file."""
    path = folder / "picture"
    if isinstance(page, bytes):
        path.write_bytes(page)
        return path
    picture = page if isinstance(page, Image.Image) else as_picture(page)
    picture.save(path, "PNG", compress_level=1)
    return path


def keep(path: Path, characters: list, target: Path) -> None:
    """Put a picture and the images read in it side by side."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(path) as opened:
        left = opened.convert("RGB")
    left.thumbnail((280, 280))
    sheet = Image.new("RGB", (290 + 150 * max(len(characters), 1), 290), "grey")
    sheet.paste(left, (5, 5))
    for i, (_, image) in enumerate(characters):
        sheet.paste(
            Image.fromarray(image).resize((140, 140), Image.Resampling.NEAREST), (290 + 150 * i, 5)
        )
    sheet.save(target)


if __name__ == "__main__":
    main()
