"""A page of HTML that runs one script and asks for nothing: its policy forbids every request."""

import base64
import hashlib
import re
from pathlib import Path

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
"""


def html_page(folder: Path, title: str, script: str, filled: dict[str, str]) -> str:
    """Return the page.

    Args:
        folder: with body.html, which has places as `{script}`, and style.css.
        title: HTML, of the window.
        script: its JavaScript.
        filled: HTML for the other places, by their names.
    """
    style = (folder / "style.css").read_text("utf-8")
    policy = (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    filled = {**filled, "policy": policy, "title": title, "style": style, "script": script}
    page = HEAD + (folder / "body.html").read_text("utf-8")
    # at once: what is filled in may hold the name of another place
    return re.sub("{(" + "|".join(filled) + ")}", lambda match: filled[match[1]], page)


def digest(text: str) -> str:
    """Return how a policy names a script or a style."""
    sha256 = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(sha256).decode()}'"
