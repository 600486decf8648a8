"""Columns and rows that are tilted, as in most photographs: they are turned upright."""

import numpy as np

TILTS = np.arange(-6, 7) * 0.0175  # that are tried, of 6 degrees at most
GAP = 0.03  # what a gap adds to the share of rows or columns that are without ink
WHITER = 0.02  # how much more of that there is at least


def find_skew(mask: np.ndarray) -> float:
    """Return the slope by which columns and rows are tilted; 0 if that can't be told.

    It is the one that leaves most rows and columns without ink, as between characters.

    Args:
        mask: (H, W) bool, of some ink.
    """
    half = mask[::2, ::2]
    white = [whiteness(turned(half, slope)) for slope in TILTS]
    order = np.argsort(abs(TILTS), kind="stable")  # the least, if several are as good
    best = order[np.argmax(np.array(white)[order])]
    return float(TILTS[best]) if white[best] > white[len(TILTS) // 2] + WHITER else 0.0


def whiteness(mask: np.ndarray) -> float:
    """Return the share of rows, plus that of columns, without ink between those that have some.

    A gap counts more than its width: between characters it may be a row of pixels.
    """
    total = 0.0
    for axis in (0, 1):
        inked = np.flatnonzero(mask.any(axis))
        if len(inked):
            total += 1 - len(inked) / (inked[-1] + 1 - inked[0])
            total += GAP * np.count_nonzero(np.diff(inked) > 1)
    return total


def turned(values: np.ndarray, slope: float) -> np.ndarray:
    """Turn a picture (H, W) upright, by shifts of whole pixels; 0 is what comes in from outside."""
    if slope == 0:
        return values
    height, width = values.shape
    margins = int(np.ceil(abs(slope) * width / 2)), int(np.ceil(abs(slope) * height / 2))
    padded = np.pad(values, [(margin, margin) for margin in margins])
    rows, columns = np.arange(padded.shape[0])[:, np.newaxis], np.arange(padded.shape[1])
    along = np.rint(slope * (rows - padded.shape[0] // 2)).astype(int)
    padded = padded[rows, (columns - along) % padded.shape[1]]
    down = np.rint(-slope * (columns - padded.shape[1] // 2)).astype(int)
    return padded[(rows - down) % padded.shape[0], columns]
