"""Draw a character on the page that reads, and take its picture: python docs/reader.py.

Opens `models/reader.html`, which `dvc repro` leaves, in Chromium; writes docs/reader.png.
"""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib_fontja
import numpy as np
from playwright.sync_api import Page, sync_playwright

from k49.kanjivg import strokes

CHARACTER = "ぬ"
KANJIVG = 109  # units of a side
SIZE = {"width": 900, "height": 620}


def main() -> None:
    """Draw, and take a picture."""
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        fonts = Path(folder, "fonts")  # where Chromium finds a Japanese one on any machine
        fonts.mkdir()
        shutil.copy(matplotlib_fontja.get_font_ttf_path(), fonts)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox"],
            env={**os.environ, "XDG_DATA_HOME": folder},
        )
        page = browser.new_page(viewport=SIZE)
        page.goto(Path("models/reader.html").resolve().as_uri())
        page.evaluate("ready.then(() => true)")
        draw(page, CHARACTER)
        page.locator("#candidates li").first.wait_for()
        page.screenshot(path="docs/reader.png", full_page=True)
        browser.close()


def draw(page: Page, character: str) -> None:
    """Draw a character as it is written."""
    box = page.locator("#board").bounding_box()
    corner, scale = np.array([box["x"], box["y"]]), box["width"] / KANJIVG
    for stroke in strokes(character):
        points = corner + (stroke + 4) * scale * 0.93
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


if __name__ == "__main__":
    main()
