"""The pages of `dvc plots show` and `diff`, opened in a browser without a network."""

import json
import re
import runpy
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.helpers import CHARACTERS, DAG, ROOT, browser, mirror_of

# A proxy that isn't there: whatever the page would load from elsewhere fails, and says so.
OFFLINE = ("--proxy-server=http://127.0.0.1:9", "--disable-background-networking")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync")
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


@pytest.fixture(scope="module")
def page(reproduced, tmp_path_factory):
    """A function that makes a page and opens it; it returns the DOM, and a picture of it.

    In the repository is an experiment on other data: nothing is the same in both revisions.
    """
    path = browser()
    folder = tmp_path_factory.mktemp("page")
    repo = reproduced.copy_to(folder)
    mirror = mirror_of(repo.path / "data/raw", folder / "mirror")
    repo.dvc("exp", "run", "-S", f"data.source={mirror}", "-S", "train.epochs=5")

    def opened(command):
        out = folder / command
        repo.dvc("plots", command, "--out", out)
        given = (
            "--virtual-time-budget=30000",
            "--enable-logging=stderr",
            "--window-size=1300,9000",
        )
        chromium = [
            path,
            *OPTIONS,
            *OFFLINE,
            *given,
            f"--user-data-dir={folder}/profile",
        ]
        address = (out / "index.html").as_uri()
        dom = subprocess.run(
            [*chromium, "--dump-dom", address], capture_output=True, encoding="utf-8", timeout=120
        )
        assert dom.returncode == 0, dom.stderr
        assert not re.findall(r".*CONSOLE.*", dom.stderr)
        subprocess.run(
            [*chromium, f"--screenshot={out}/page.png", address],
            check=True,
            capture_output=True,
            timeout=120,
        )
        with Image.open(out / "page.png") as picture:
            return dom.stdout, np.asarray(picture.convert("L"))

    return opened


@pytest.mark.slow
@pytest.mark.parametrize("command", ["show", "diff"])
def test_every_chart_is_drawn_without_a_network(page, command):
    dom, picture = page(command)
    charts = re.findall(r'<svg[^>]+class="marks" width="(\d+)" height="(\d+)"', dom)
    assert len(charts) == len(CHARTS)
    assert all(min(int(width), int(height)) > 90 for width, height in charts)
    revisions = ["workspace"] if command == "show" else ["HEAD", "workspace"]
    assert len(re.findall(r'<img src="static/', dom)) == len(revisions) * len(PICTURES)
    for revision in revisions:
        assert f">{revision}</text>" in dom, "named in a legend"
    for title in ("Loss", "Accuracy", "Confusion on test", "Trials of the search"):
        assert f">{title}</text>" in dom
    assert all(f">{CHARACTERS[label]}</text>" in dom for label in (4, 17, 48))
    assert picture.std() > 20, "blank"
