"""Model files, opened: what one says of itself, and how it reads images; Keras' or ONNX."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from k49.data import chunks
from k49.data.checksums import md5
from k49.errors import K49Error, is_out_of_memory
from k49.export.exported import AVERAGED, PROBABILITIES, PROVENANCE, SCORE, SOURCE
from k49.export.network import IMAGE
from k49.model_file import MOST_BYTES
from k49.outside import parse_json
from k49.progress import each
from k49.provenance import check_size, of_k49s_form, read_detector, read_provenance, said_by
from k49.settings import DatasetInfo, Provenance
from k49.shifts import copies, sharpened
from k49.shown import printable

AT_ONCE = 256  # images


@dataclass(frozen=True)
class Reading:
    """What a model makes of images."""

    probabilities: np.ndarray  # (N, C), averaged over as many shifts as the model file says
    uncertain: np.ndarray | None  # (N,) bool; None where the model file doesn't say from where on
    outlier: np.ndarray | None  # (N,) bool, likewise: unlike all that it was trained on


class Model(ABC):
    """A model file of one kind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    @abstractmethod
    def said(self) -> Provenance | None:
        """What the file says of itself."""

    @cached_property
    def dataset(self) -> DatasetInfo:
        """What it says of its classes and images; K49's if it says nothing."""
        return self.said.dataset if self.said else of_k49s_form("unknown data")

    @abstractmethod
    def size(self) -> tuple[int, ...]:
        """Return height and width of its images, and the number of classes."""

    @abstractmethod
    def probabilities(self, images: np.ndarray, shifts: int, exponent: float) -> np.ndarray:
        """Return probabilities (N, C), averaged over so many shifts, to the power of `exponent`."""

    @abstractmethod
    def scores(self, images: np.ndarray) -> np.ndarray | None:
        """Return how unlike all that it was trained on images are, (N,); None if it can't tell."""

    def read(self, images: np.ndarray) -> Reading:
        """Read images (N, H, W, 1) uint8, light ink on black.

        Raises:
            K49Error: the file is no model, or of other classes or images than it says, or fails.
        """
        check_size(self.path, self.size(), self.dataset)
        found = self.said.calibration if self.said else None
        shifts = self.said.shifts if self.said else 0
        try:
            read = self.probabilities(images, shifts, found.exponent if found else 1.0)
            scores = self.scores(images) if found else None
        except Exception as error:  # whatever the layers of somebody's network raise
            if is_out_of_memory(error):
                raise
            raise K49Error(f"{self.path}: can't be run: {printable(error, 200)}") from error
        if found is None:
            return Reading(read, None, None)
        certain = found.averaged_certain if shifts else found.certain
        outlier = None if scores is None else scores > found.outlier
        return Reading(read, read.max(1) < certain, outlier)


def open_model(path: Path, threads: int = 0) -> Model:
    """Open a model file, by its name a Keras archive or ONNX; what takes long is done later.

    Args:
        path: of the file.
        threads: of onnxruntime that compute; 0 are as many as there are processors.
    """
    return OnnxModel(path, threads) if path.suffix == ".onnx" else KerasModel(path)


def project_model(folder: Path, threads: int = 0) -> Model:
    """Open a project's model: as ONNX, which starts quickest, if that was made of this very one."""
    trained, exported = folder / "model.keras", OnnxModel(folder / "model.onnx", threads)
    there = exported.path.is_file() and exported.path.stat().st_size  # empty: can't be exported
    if not there or find_spec("onnxruntime") is None:
        return KerasModel(trained)
    if trained.is_file() and exported.metadata.get(SOURCE) != md5(trained):
        return KerasModel(trained)
    return exported


class KerasModel(Model):
    """A file that `save_model` wrote."""

    @cached_property
    def said(self) -> Provenance | None:
        """What the file says of itself."""
        return read_provenance(self.path)

    @cached_property
    def network(self) -> Any:
        """Return the network."""
        from k49.training.model import load_model  # Keras takes seconds: only now

        return load_model(self.path)

    def size(self) -> tuple[int, ...]:
        """Return height and width of its images, and the number of classes."""
        return (*self.network.input_shape[1:3], self.network.output_shape[-1])

    def probabilities(self, images: np.ndarray, shifts: int, exponent: float) -> np.ndarray:
        """Return probabilities (N, C)."""
        from k49.training.model import predict_proba

        return predict_proba(self.network, images, shifts, exponent)

    def scores(self, images: np.ndarray) -> np.ndarray | None:
        """Return scores (N,)."""
        from k49.training.detector import outlier_scores

        detector = read_detector(self.path)
        return None if detector is None else outlier_scores(self.network, detector, images)


class OnnxModel(Model):
    """A file that `export.onnx_file` wrote."""

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__(path)
        self.threads = threads

    @cached_property
    def session(self) -> Any:
        """Return onnxruntime's session.

        Raises:
            K49Error: onnxruntime isn't installed, or the file is no model that it can read.
        """
        if not self.path.is_file():
            raise K49Error(f"{self.path}: no such model; `dvc repro` exports it")
        if self.path.stat().st_size > MOST_BYTES:
            raise K49Error(f"{self.path}: more than {MOST_BYTES:,} bytes, which no model has")
        try:
            import onnxruntime
        except ImportError as error:
            raise K49Error(
                f"{self.path}: to read ONNX, `pip install onnxruntime`, or take the .keras file"
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised in Python, too
        options.intra_op_num_threads = self.threads
        try:
            found = onnxruntime.InferenceSession(self.path.read_bytes(), options)
            (image,), (first, *_) = found.get_inputs(), found.get_outputs()
            if (image.name, first.name, len(image.shape)) != (IMAGE, PROBABILITIES, 4):
                raise ValueError(f"no {IMAGE} in or no {PROBABILITIES} out")
        except Exception as error:  # onnxruntime's have no common class
            raise K49Error(
                f"{self.path}: not a model as `k49 export` writes it: {printable(error, 200)}"
            ) from error
        return found

    @cached_property
    def metadata(self) -> dict[str, str]:
        """Return what the file says of itself, by key."""
        try:
            return self.session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise K49Error(f"{self.path}: its metadata are no UTF-8") from error

    @cached_property
    def said(self) -> Provenance | None:
        """What the file says of itself."""
        text = self.metadata.get(PROVENANCE)
        return said_by(text.encode(), f"{self.path}: {PROVENANCE}") if text else None

    @cached_property
    def averages(self) -> bool:
        """Return whether the graph averages over shifts itself."""
        text = self.metadata.get(AVERAGED, "false")
        return parse_json(text.encode(), f"{self.path}: {AVERAGED}") is True

    def size(self) -> tuple[int, ...]:
        """Return height and width of its images, and the number of classes."""
        return (*self.session.get_inputs()[0].shape[1:3], self.session.get_outputs()[0].shape[-1])

    def probabilities(self, images: np.ndarray, shifts: int, exponent: float) -> np.ndarray:
        """Return probabilities (N, C)."""
        if self.averages:
            return self.run(PROBABILITIES, images)

        def of_copies(part: np.ndarray) -> np.ndarray:
            """Average over copies; one run for all of them is quicker than nine."""
            found = self.run(PROBABILITIES, np.concatenate(list(copies(part, shifts))))
            return found.reshape(-1, len(part), found.shape[-1]).mean(0)

        few = AT_ONCE // (2 * shifts + 1) ** 2
        parts = each(list(chunks(len(images), few)), f"predicting, batches of {few}")
        return sharpened(np.concatenate([of_copies(images[part]) for part in parts]), exponent)

    def scores(self, images: np.ndarray) -> np.ndarray | None:
        """Return scores (N,)."""
        known = any(output.name == SCORE for output in self.session.get_outputs())
        return self.run(SCORE, images) if known else None

    def run(self, output: str, images: np.ndarray) -> np.ndarray:
        """Return an output for images, some at once."""
        parts = each(list(chunks(len(images), AT_ONCE)), f"predicting, batches of {AT_ONCE}")
        return np.concatenate(
            [self.session.run([output], {IMAGE: images[part]})[0] for part in parts]
        )
