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


def export(model: Path, paths: dict[Form, Path], **facts: Any) -> None:
    """Write a model file in other forms, once its operations compute what Keras does.

    Args:
        model: the file.
        paths: where to write each form.
        facts: as for `exported.load`, metadata of the forms.

    Raises:
        K49Error: it is no model, it can't be exported, or packages for a form are missing.
    """
    writers = [writer(form) for form in paths]
    from k49.export.exported import load  # its imports take a moment
    from k49.export.onnx_file import compare_layers

    exported = load(model, **facts)
    compare_layers(exported)
    for write, path in zip(writers, paths.values(), strict=True):
        write(exported, path)


def writer(form: Form) -> "Callable[[Exported, Path], None]":
    """Return the function that writes a form.

    Raises:
        K49Error: packages for it are missing.
    """
    try:
        from k49.export import onnx_file  # a page's operations are compared by ONNX, too

        if form is Form.onnx:
            return onnx_file.write
        from k49.export.page import write
    except ModuleNotFoundError as error:
        raise K49Error(
            f"--format {form} needs the package {error.name}: pip install -e '.[onnx]'"
        ) from error
    return write


def metrics_of(project: Path) -> dict[str, Any]:
    files = [project / name for name in METRICS if (project / name).is_file()]
    return {key: value for file in files for key, value in read_json(file).items()}
