"""export: the model as ONNX, cached; checked to read the test images as Keras did."""

from pathlib import Path

from k49.data.arrays import File, read_whole
from k49.profiling import timed
from k49.settings import Settings
from k49.stage import MODEL, ONNX, PREDICTIONS, load_dataset, run_stage


def main(settings: Settings) -> None:
    """Export, read test with what was exported, and compare."""
    with timed("importing"):  # Keras takes seconds: settings are checked before
        from k49.export.check import largest_difference
        from k49.export.forms import Form, export, metrics_of
    with timed("exporting"):
        export(MODEL, Form.onnx, ONNX, metrics=metrics_of(Path()))
    with timed("checking"):
        probabilities = read_whole(File(PREDICTIONS, str(PREDICTIONS)), "probabilities")
        apart = largest_difference(ONNX, load_dataset("test").images, probabilities)
    print(f"wrote {ONNX}, which reads test as the model does: probabilities differ by {apart:.0e}")


if __name__ == "__main__":
    run_stage(main)
