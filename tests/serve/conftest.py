"""A model to serve."""

from pathlib import Path

import pytest

from k49.export import Form, export
from tests.helpers import save_calibrated


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model as ONNX, untrained, with a page next to it."""
    folder = tmp_path_factory.mktemp("models")
    save_calibrated(folder / "model.keras")
    export(folder / "model.keras", {Form.onnx: folder / "model.onnx"})
    (folder / "reader.html").write_text("<!doctype html><title>page</title>")
    return folder / "model.onnx"
