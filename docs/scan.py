"""Draws docs/scan.png, the picture that README's `k49 predict` reads: `python docs/scan.py`.

Three characters of the stand-in (drawn, not K49), in a column on paper in slanting light.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from k49.data import standin
from k49.settings import Standin

CHARACTERS = "はなし"
SETTINGS = Standin(classes=49, seed=7, scale=0.001, train_books=2, test_books=2)
SIDE, GAP, MARGIN = 112, 60, 50  # pixels: of a character, between two, around them


def main() -> None:
    """Draw test images of the characters, the clearest of each, and put them on paper."""
    labels, chunks = standin.draw("test", SETTINGS)
    images = np.concatenate(list(chunks))
    column = []
    for character in CHARACTERS:
        of_class = images[labels == standin.CHARACTERS.index(character)]
        clearest = of_class[np.argsort(of_class.mean((1, 2)))[len(of_class) // 2]]
        large = Image.fromarray(clearest).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        column += [np.asarray(large, float) / 255, np.zeros((GAP, SIDE))]
    ink = np.pad(np.concatenate(column[:-1]), MARGIN)
    light = np.linspace(1, 0.8, ink.shape[1]) * np.linspace(0.9, 1, len(ink))[:, np.newaxis]
    grain = np.random.default_rng(49).normal(0, 2, ink.shape)
    paper = (235 * (1 - 0.8 * ink) * light + grain).clip(0, 255).astype(np.uint8)
    Image.fromarray(paper).save(Path(__file__).with_name("scan.png"), optimize=True)


if __name__ == "__main__":
    main()
