"""The pages of `dvc plots show` and `diff`, opened in a browser without a network."""

import json
import re
import runpy

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.helpers import CHARACTERS, DAG, ROOT, browser, mirror_of

# A proxy that isn't there: whatever the page would load from elsewhere fails, and says so.
OPTIONS = ["--no-sandbox", "--proxy-server=http://127.0.0.1:9"]
SIZE = {"width": 1300, "height": 3000}  # pixels of the window
CHARTS = [each for each in DAG["plots"] if ".png" not in str(each)]
PICTURES = [each for each in DAG["plots"] if ".png" in str(each)]


def test_page_is_as_its_script_writes_it():
    """Else an upgrade of vl-convert would leave the old one."""
    page = runpy.run_path(str(ROOT / ".dvc/plots/page.py"))["page"]()
    assert (ROOT / ".dvc/plots/page.html").read_text("utf-8") == page
    around = re.sub(r"(?s)<script>.*</script>", "", page)
    assert not re.search("src=|href=|url", around), "loads something"


def test_confusion_is_in_the_order_of_the_classes():
    """Was: in the order in which they occur, so that what is read correctly was no diagonal."""
    chart = json.loads((ROOT / ".dvc/plots/k49_confusion.json").read_text("utf-8"))
    for axis, field in (("x", "predicted_label"), ("y", "true_label")):
        assert chart["spec"]["encoding"][axis]["sort"] == {"field": field, "op": "min"}


@pytest.mark.slow
def test_every_chart_is_drawn_without_a_network(fresh, tmp_path):
    """Of a comparison with an experiment on other data: nothing is the same in both revisions."""
    mirror = mirror_of(fresh.path / "data/raw", tmp_path / "mirror")
    short = ("-S", "train.epochs=5", "-S", "tune.trials=1")
    fresh.dvc("exp", "run", "-S", f"data.source={mirror}", *short)
    fresh.dvc("plots", "diff", "--out", tmp_path / "page")
    wrong = []
    with sync_playwright() as playwright:
        options = {"executable_path": browser(), "args": OPTIONS}
        page = playwright.chromium.launch(**options).new_page(viewport=SIZE)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((tmp_path / "page/index.html").as_uri())
        page.wait_for_function(f"document.querySelectorAll('svg.marks').length == {len(CHARTS)}")
        dom = page.content()
        page.screenshot(path=tmp_path / "page.png")
    assert not wrong
    charts = re.findall(r'<svg[^>]+class="marks" width="(\d+)" height="(\d+)"', dom)
    assert len(charts) == len(CHARTS)
    assert all(min(int(width), int(height)) > 90 for width, height in charts)
    assert len(re.findall(r'<img src="static/', dom)) == 2 * len(PICTURES)
    for text in (
        "HEAD",
        "workspace",
        "Loss",
        "Accuracy",
        "Confusion on test",
        "Trials of the search",
    ):
        assert f">{text}</text>" in dom
    assert all(f">{CHARACTERS[label]}</text>" in dom for label in (4, 17, 48))
    with Image.open(tmp_path / "page.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20, "blank"
