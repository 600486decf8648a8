"""Pictures of what is no Kuzushiji, as somebody may photograph it: for tests and `outliers`.

None of the fonts is the one that `training.outliers` draws with.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import matplotlib_fontja
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from k49.pictures.characters import characters
from k49.pictures.ink import NoInkError

SIDE = 160  # pixels of a picture
FONTS = Path(matplotlib.get_data_path(), "fonts/ttf")
LATIN = [
    *("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSans-BoldOblique.ttf", "DejaVuSansMono.ttf"),
    *("STIXGeneralItalic.ttf", "STIXGeneral.ttf", "cmr10.ttf"),
]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghjkmnopqrstuvwxyz"  # but i and l, single strokes


def images(kind: str, number: int, seed: int, size: tuple[int, int]) -> np.ndarray:
    """So many pictures as `k49 predict` sees them, (N, H, W) uint8: those where it finds ink."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(number):
        try:
            found += characters(KINDS[kind](rng), size)[0]
        except NoInkError:  # refused, as it should be
            continue
    return np.array(found).reshape(-1, *size)


def letter(rng: np.random.Generator) -> np.ndarray:
    """A Latin letter."""
    return photograph(printed(rng.choice(list(LETTERS)), latin_font(rng), rng), rng)


def digit(rng: np.random.Generator) -> np.ndarray:
    """A digit."""
    return photograph(printed(str(rng.integers(10)), latin_font(rng), rng), rng)


def kanji(rng: np.random.Generator) -> np.ndarray:
    """A printed kanji."""
    return photograph(printed(some_kanji(rng), matplotlib_fontja.get_font_ttf_path(), rng), rng)


def seal(rng: np.random.Generator) -> np.ndarray:
    """One to four kanji in a frame."""
    picture = Image.new("L", (SIDE, SIDE), 255)
    draw, third = ImageDraw.Draw(picture), SIDE / 3
    frame = draw.ellipse if rng.integers(2) else draw.rectangle
    frame((20, 20, SIDE - 20, SIDE - 20), outline=30, width=int(rng.integers(4, 10)))
    places, points = {
        1: ([(SIDE / 2, SIDE / 2)], 80),
        2: ([(SIDE / 2, 1.05 * third), (SIDE / 2, 1.95 * third)], 46),
        4: ([(x * third, y * third) for x in (1.05, 1.95) for y in (1.05, 1.95)], 46),
    }[int(rng.choice([1, 2, 4]))]
    font = ImageFont.truetype(matplotlib_fontja.get_font_ttf_path(), points)
    for place in places:
        draw.text(place, some_kanji(rng), 30, font, anchor="mm")
    return photograph(picture.rotate(rng.uniform(-10, 10), fillcolor=255), rng)


def noise(rng: np.random.Generator) -> np.ndarray:
    """Noise, fine or coarse."""
    return np.clip(128 + 60 * smooth(rng, rng.uniform(0.1, 8)), 0, 255)


def blank(rng: np.random.Generator) -> np.ndarray:
    """Paper; most of it is refused for want of ink."""
    return paper(rng)


def torn(rng: np.random.Generator) -> np.ndarray:
    """The torn edge of a sheet on something dark."""
    walk = gaussian_filter1d(rng.normal(size=SIDE).cumsum(), 2) * rng.uniform(0.5, 2)
    edge = SIDE * rng.uniform(0.3, 0.7) + walk
    dark = rng.uniform(10, 70) + rng.normal(0, 3, (SIDE, SIDE))
    page = np.where(np.arange(SIDE) < edge[:, np.newaxis], paper(rng), dark)
    return np.rot90(page, rng.integers(4)).clip(0, 255)


def stains(rng: np.random.Generator) -> np.ndarray:
    """Holes of worms, and spots."""
    spots = smooth(rng, rng.uniform(3, 8)) > rng.uniform(1.2, 2.2)
    return np.where(spots, rng.uniform(20, 90), paper(rng)).clip(0, 255)


def shapes(rng: np.random.Generator) -> np.ndarray:
    """One to three circles, boxes, lines and discs."""
    picture = Image.new("L", (SIDE, SIDE), 255)
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(1, 4)):
        x, y = (np.sort(rng.integers(15, SIDE - 25, 2)).tolist() for _ in "xy")
        box, width = (x[0], y[0], x[1] + 10, y[1] + 10), int(rng.integers(3, 11))
        kind = rng.integers(4)
        if kind == 0:
            draw.rectangle(box, outline=20, width=width)
        elif kind == 1:
            draw.line(box, fill=20, width=width)
        else:
            draw.ellipse(box, fill=20 if kind == 2 else None, outline=20, width=width)
    return photograph(picture, rng)


KINDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "Latin letters": letter,
    "digits": digit,
    "kanji": kanji,
    "seals": seal,
    "noise": noise,
    "blank paper": blank,
    "torn paper": torn,
    "stains": stains,
    "shapes": shapes,
}


def latin_font(rng: np.random.Generator) -> str:
    """The file of a font."""
    return str(FONTS / rng.choice(LATIN))


def some_kanji(rng: np.random.Generator) -> str:
    """One of the 2,000 most frequent, the rows of JIS level 1."""
    return bytes((rng.integers(0x89, 0x98), rng.integers(0x9F, 0xFD))).decode("shift_jis")


def printed(character: str, font: str, rng: np.random.Generator) -> Image.Image:
    """A character in the middle, a little turned."""
    picture = Image.new("L", (SIDE, SIDE), 255)
    ImageDraw.Draw(picture).text(
        *((SIDE / 2, SIDE / 2), character),
        fill=int(rng.integers(80)),
        font=ImageFont.truetype(font, 100),
        anchor="mm",
    )
    return picture.rotate(rng.uniform(-12, 12), fillcolor=255)


def smooth(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Noise of a standard deviation of 1, blurred."""
    found = gaussian_filter(rng.normal(size=(SIDE, SIDE)), sigma)
    return found / found.std()


def paper(rng: np.random.Generator) -> np.ndarray:
    """Paper, more or less even."""
    uneven = smooth(rng, SIDE / 10) * rng.uniform(3, 15)
    return rng.uniform(180, 235) + uneven + rng.normal(0, rng.uniform(1, 5), (SIDE, SIDE))


def photograph(picture: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Print it on paper and hold the camera not quite still."""
    light = np.asarray(picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))) / 255
    return (paper(rng) * (0.15 + 0.85 * light)).clip(0, 255)
