"""Writes page.html next to this file, in which `dvc plots show` and `diff` put their charts.

    python .dvc/plots/page.py     # after an upgrade of vl-convert

DVC's own page loads Vega from a CDN. This one holds it, as vl-convert ships it (Vega, Vega-Lite and
Vega-Embed, BSD-3-Clause), so that the page works with no network.
"""

from pathlib import Path

import vl_convert

VEGA_LITE = "6.4"  # of the major version that the templates name
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{refresh_tag}
<title>k49: plots</title>
<style>
body {{ font-family: system-ui, sans-serif; margin: 1.5rem; color: #222; }}
main {{ display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start; }}
main > div {{ max-width: 100%; overflow-x: auto; }}
img {{ max-width: min(100%, 68rem); height: auto; }}
</style>
<script>{vega}</script>
</head>
<body>
<main>
{plot_divs}
</main>
</body>
</html>
"""


def page() -> str:
    """The page, with DVC's placeholders in it."""
    vega = vl_convert.javascript_bundle(vl_version=VEGA_LITE)
    kept = {name: f"{{{name}}}" for name in ("refresh_tag", "plot_divs")}
    return PAGE.format(vega=vega, **kept)


if __name__ == "__main__":
    Path(__file__).with_suffix(".html").write_text(page(), encoding="utf-8")
