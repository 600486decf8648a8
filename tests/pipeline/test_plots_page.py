"""What the page of `dvc plots` is made of; test_experiments.py opens it in a browser."""

import json
import re
import runpy

from tests.helpers import ROOT


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
