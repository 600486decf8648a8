"""Text from outside, made harmless where it is shown: in a terminal, in Markdown, in a page."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any, Literal

from rich.markup import escape

MOST = 2_000  # characters of a line
# Unchanged in Markdown: no character that makes a link, a mention, a picture, markup or a cell. A
# star before a space, or at the end behind one, is a star.
PLAIN = re.compile(r"(?!.*www\.)(?:[\w .,;:=!?/'\"()+%·×±-]|(?<=[ (])\*(?= |$))*")

ReadingOrder = Literal["auto", "vertical", "horizontal"]  # of characters in a picture


def printable(text: object, most: int = MOST) -> str:
    r"""Return text as one line in which every control character is visible, as `\x1b`.

    So it can neither move a terminal's cursor nor turn the direction of writing nor begin a line of
    its own. Of a longer one the beginning and the end stay.
    """
    shown = shortened(str(text), most)
    if shown.isprintable():
        return shown
    signs = (
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown
    )
    return shortened("".join(signs), most)


def shortened(text: str, most: int) -> str:
    """Return the beginning and the end of text that is longer than `most`."""
    if len(text) <= most:
        return text
    return f"{text[: most * 3 // 4]}…{text[len(text) - most // 4 + 1 :]}"


def in_terminal(text: object, most: int = MOST) -> str:
    """Return text for Rich to print as it is, and not as its markup."""
    return escape(printable(text, most))


def in_script(value: Any) -> Any:
    """Return text for data in a script of a page, which nothing in it may end; all else as it is.

    DVC writes the rows of plots into such a script as they are. There `</`, `<!` and `<script`
    mean something, so their first sign becomes one that looks like it.
    """
    return re.sub(r"<(?=[/!s])", "\uff1c", value, flags=re.I) if isinstance(value, str) else value


def in_markdown(text: object, most: int = MOST) -> str:
    """Return text for a place in Markdown: as it is, or as code.

    In code GitHub sees neither HTML nor links nor `@names` (github.github.com/gfm, 6.3).
    """
    shown = printable(text, most)
    if PLAIN.fullmatch(shown) and "://" not in shown:
        return shown
    longest = max((len(ticks) for ticks in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    space = " " if "`" in (shown[:1], shown[-1:]) else ""
    return f"{fence}{space}{shown}{space}{fence}"


def in_cell(text: object, most: int = MOST) -> str:
    r"""Return text for a cell of a table in Markdown.

    `\|` is a bar there, but `\\|` a backslash and the cell's end: of such text the bars are broken.
    """
    shown = in_markdown(text, most)
    return shown.replace("|", "¦" if "\\" in shown else "\\|")


def code_point(name: str) -> str:
    """Return a class's code point as `k49_classmap.csv` writes it, `U+3042`; "" of a word."""
    return f"U+{ord(name):04X}" if len(name) == 1 else ""


def csv_text(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Return rows as CSV below a header of their keys; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
