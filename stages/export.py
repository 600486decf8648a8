"""export: the model as ONNX and as a page, cached; ONNX is checked to read test as Keras did."""

from pathlib import Path

from k49.data.arrays import File, read_whole
from k49.export import Form, export, metrics_of
from k49.export.network import NotExportableError
from k49.io import write_text
from k49.progress import timed
from k49.settings import Settings
from k49.stage import MODEL, ONNX, PAGE, PREDICTIONS, load_dataset, run_stage


def main(settings: Settings) -> None:
    """Export, read test with what was exported, and compare."""
    try:
        with timed("exporting"):
            export(MODEL, {Form.onnx: ONNX, Form.html: PAGE}, metrics=metrics_of(Path()))
    except NotExportableError as error:  # of somebody's own network, which is no reason to stop
        for path in (ONNX, PAGE):
            write_text(path, "")
        print(f"note: {error}; {ONNX} and {PAGE} are empty")
        return

    with timed("checking"):
        from k49.export.onnx_file import largest_difference

        probabilities = read_whole(File(PREDICTIONS, str(PREDICTIONS)), "probabilities")
        difference = largest_difference(ONNX, load_dataset("test").images, probabilities)
    print(f"wrote {ONNX}: on test its probabilities differ by {difference:.0e} from the model's")
    print(f"wrote {PAGE}: open it in a browser")


if __name__ == "__main__":
    run_stage(main)
