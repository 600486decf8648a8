"""Unicode code points of characters."""


def code_point(name: str) -> str:
    """Return a class's code point as `k49_classmap.csv` writes it, `U+3042`; "" of a word."""
    return f"U+{ord(name):04X}" if len(name) == 1 else ""
