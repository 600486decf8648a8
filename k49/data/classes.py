"""The 49 classes of Kuzushiji-49: characters, images for each class.

Order, characters and counts are those of the dataset (Clanuwat et al. 2018, arXiv:1812.01718, and
`k49_classmap.csv` as published).
"""

import numpy as np

from k49.data import NUM_CLASSES

CHARACTERS = (
    "あいうえおかきくけこさしすせそたちつてとなにぬねの"
    "はひふへほまみむめもやゆよらりるれろわゐゑをんゝ"
)
_TRAIN_BELOW_6000 = {
    **{3: 777, 8: 4714, 13: 4165, 14: 3867, 16: 2565, 22: 2063, 23: 2451, 26: 5132, 29: 1993},
    **{31: 3060, 32: 1718, 33: 3394, 36: 1598, 42: 2139, 43: 2397, 44: 417, 45: 392, 48: 3523},
}
_TEST_BELOW_1000 = {
    **{3: 126, 8: 767, 13: 678, 14: 629, 16: 418, 22: 336, 23: 399, 26: 836, 29: 324},
    **{31: 498, 32: 280, 33: 552, 36: 260, 42: 348, 43: 390, 44: 68, 45: 64, 48: 574},
}
TRAIN_COUNTS = np.array([_TRAIN_BELOW_6000.get(label, 6000) for label in range(NUM_CLASSES)])
TEST_COUNTS = np.array([_TEST_BELOW_1000.get(label, 1000) for label in range(NUM_CLASSES)])


def code_point(label: int) -> str:
    """Return a class's Unicode code point as `k49_classmap.csv` writes it: `U+3042` for 0."""
    return f"U+{ord(CHARACTERS[label]):04X}"


def classmap_csv() -> str:
    """Return the text of `k49_classmap.csv`, byte for byte as published (MD5 f7d0d039...)."""
    rows = [f"{i},{code_point(i)},{char}" for i, char in enumerate(CHARACTERS)]
    return "\n".join(["index,codepoint,char", *rows]) + "\n"
