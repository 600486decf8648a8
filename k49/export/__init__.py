"""The forms that a model is written in, by name."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k49.errors import K49Error
from k49.io import read_json

if TYPE_CHECKING:
    from k49.export.exported import Exported

METRICS = ("metrics/train.json", "metrics/test.json")


class Form(StrEnum):
    onnx = "onnx"
    html = "html"


def export(model: Path, form: Form, path: Path, **facts: Any) -> None:
    """Write a model file in another form.

    Args:
        model: the file.
        form: to write.
        path: to write to.
        facts: as for `exported.load`, metadata of the form.

    Raises:
        K49Error: it is no model, it can't be exported, or packages for the form are missing.
    """
    from k49.export import exported  # its imports take a moment

    writer(form)(exported.load(model, **facts), path)


def writer(form: Form) -> "Callable[[Exported, Path], None]":
    """Return the function that writes a form.

    Raises:
        K49Error: packages for it are missing.
    """
    try:
        if form is Form.onnx:
            from k49.export.onnx_file import write
        else:
            from k49.export.page import write
    except ModuleNotFoundError as error:
        raise K49Error(
            f"--format {form} needs the package {error.name}: pip install -e '.[onnx]'"
        ) from error
    return write


def metrics_of(project: Path) -> dict[str, Any]:
    files = [project / name for name in METRICS if (project / name).is_file()]
    return {key: value for file in files for key, value in read_json(file).items()}
