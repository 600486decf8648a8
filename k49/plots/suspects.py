"""A gallery of images whose label is probably wrong, next to sure examples of both classes."""

import numpy as np
from matplotlib.figure import Figure

from k49.comparison.suspects import Suspects, examples
from k49.data.split import Raw
from k49.plots.figures import GREY, figure_style, set_margins, shortened, tile

MOST, COLUMNS = 36, 3  # suspects at most, and in a row
EXAMPLES = 2  # of each class
CELLS = 2 + 2 * EXAMPLES  # the suspect, examples of each class, and a gap


def gallery(suspects: Suspects, top: int, raw: dict[str, Raw], dataset: str) -> Figure:
    """Draw the first suspects, each next to sure examples of its label and of the likely class.

    Args:
        suspects: ranked.
        top: how many to show, 36 at most.
        raw: "train" and "test", as fetched.
        dataset: what to call the data.
    """
    ranked, top = suspects.ranked, min(top, MOST)
    shown = np.flatnonzero(ranked.given[:top] != ranked.likely[:top])
    size = raw["train"][0].shape[1:]
    images = np.zeros((max(1, len(shown)) * CELLS, *size, 1), np.uint8)
    for i, row in enumerate(shown):
        of_given, of_likely = (
            examples(suspects, label[row], EXAMPLES) for label in (ranked.given, ranked.likely)
        )
        for cell, places in ((0, [row]), (1, of_given), (1 + EXAMPLES, of_likely)):
            for j, place in enumerate(places, start=i * CELLS + cell):
                images[j, ..., 0] = raw[str(ranked.split[place])][0][ranked.index[place]]
    lines = max(1, -(-len(shown) // COLUMNS))
    with figure_style():
        figure = Figure((12, 0.6 + 1.05 * lines))
        set_margins(figure, 0.1, 0.1, 0.1, 0.4)
        axes = figure.subplots()
        cells = tile(axes, images, COLUMNS * CELLS, above=20)
        for i, row in enumerate(shown):
            given, likely = (
                shortened(suspects.classes[label[row]]) for label in (ranked.given, ranked.likely)
            )
            titles = (f"{given}?", f"sure {given}", f"sure {likely}")
            for title, cell in zip(titles, (0, 1, 1 + EXAMPLES), strict=True):
                x, y = cells[i * CELLS + cell]
                size_of_text = 9 if len(title) < 9 else 6
                axes.text(x, y - 1, title, fontsize=size_of_text, ha="center", va="bottom")
            x, y = cells[i * CELLS]
            share = f"{ranked.likely_probability[row]:.0%} {likely}"
            below = f"{ranked.split[row]} {ranked.index[row]}, {share}"
            axes.text(x - size[1] / 2, y + size[0] + 1, below, fontsize=7, va="top", color=GREY)
        figure.suptitle(
            f"Labels that are probably wrong: {dataset}; each next to sure examples of its label "
            "and of the likely class",
            fontsize=11,
        )
        return figure
