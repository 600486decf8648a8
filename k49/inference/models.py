"""Opened model files, of Keras or ONNX: their metadata, and their predictions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from k49.data import chunks
from k49.errors import K49Error, is_out_of_memory
from k49.io import md5, parse_json, read_bytes
from k49.model_file import (
    AVERAGED,
    IMAGE,
    MOST_BYTES,
    ONNX_PROVENANCE,
    PROBABILITIES,
    SCORE,
    SOURCE,
    check_shape,
    parse_provenance,
    read_provenance,
)
from k49.progress import tracked
from k49.settings import DatasetInfo, Detector, Provenance
from k49.text import printable
from k49.tta import copies, sharpen

AT_ONCE = 256  # images


@dataclass(frozen=True)
class BatchResult:
    """Predictions for a batch of images."""

    probabilities: np.ndarray  # (N, C), averaged over as many shifts as the model file says
    uncertain: np.ndarray  # (N,) bool, the highest probability is below the model file's threshold
    outlier: np.ndarray  # (N,) bool, unlike all images that the model was trained on


class Model(ABC):
    """A model file of one kind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    @abstractmethod
    def provenance(self) -> Provenance:
        """The data, settings and calibration of the model.

        Raises:
            K49Error: the file has none.
        """

    @property
    def dataset(self) -> DatasetInfo:
        return self.provenance.dataset

    @abstractmethod
    def size(self) -> tuple[int, ...]:
        """Return height and width of its images, and the number of classes."""

    @abstractmethod
    def probabilities(self, images: np.ndarray, shifts: int, exponent: float) -> np.ndarray:
        """Return probabilities (N, C), averaged over so many shifts, to the power of `exponent`."""

    @abstractmethod
    def scores(self, images: np.ndarray) -> np.ndarray:
        """Return how unlike the training images these are, (N,)."""

    def read(self, images: np.ndarray) -> BatchResult:
        """Read images (N, H, W, 1) uint8, light ink on black.

        Raises:
            K49Error: the file is no model, or of other classes or images than it says, or fails.
        """
        check_shape(self.path, self.size(), self.dataset)
        calibration, shifts = self.provenance.calibration, self.provenance.shifts
        try:
            probabilities = self.probabilities(images, shifts, calibration.exponent)
            scores = self.scores(images)
        except Exception as error:  # whatever the layers of somebody's network raise
            if is_out_of_memory(error):
                raise
            raise K49Error(f"{self.path}: can't be run: {printable(error, 200)}") from error
        certain = calibration.averaged_certain if shifts else calibration.certain
        return BatchResult(
            probabilities, probabilities.max(1) < certain, scores > calibration.outlier
        )


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
    has_onnx = exported.path.is_file() and exported.path.stat().st_size  # empty: can't be exported
    if not has_onnx or find_spec("onnxruntime") is None:
        return KerasModel(trained)
    if trained.is_file() and exported.metadata.get(SOURCE) != md5(trained):
        return KerasModel(trained)
    return exported


class KerasModel(Model):
    """A file of stage calibrate."""

    @cached_property
    def parts(self) -> tuple[Provenance, Detector]:
        return read_provenance(self.path)

    @property
    def provenance(self) -> Provenance:
        return self.parts[0]

    @cached_property
    def network(self) -> Any:
        from k49.training.model import load_model  # Keras takes seconds: only now

        return load_model(self.path)

    def size(self) -> tuple[int, ...]:
        return (*self.network.input_shape[1:3], self.network.output_shape[-1])

    def probabilities(self, images: np.ndarray, shifts: int, exponent: float) -> np.ndarray:
        from k49.training.model import predict_proba

        return predict_proba(self.network, images, shifts, exponent)

    def scores(self, images: np.ndarray) -> np.ndarray:
        from k49.calibration.detector import outlier_scores

        return outlier_scores(self.network, self.parts[1], images)


class OnnxModel(Model):
    """A file that `export.onnx_file` wrote."""

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__(path)
        self.threads = threads

    @cached_property
    def content(self) -> bytes:
        """The bytes of the file.

        Raises:
            K49Error: there is no such file, or it is larger than any model.
        """
        if not self.path.is_file():
            raise K49Error(f"{self.path}: no such model; `dvc repro` exports it")
        return read_bytes(self.path, MOST_BYTES)

    @cached_property
    def session(self) -> Any:
        """Return onnxruntime's session.

        Raises:
            K49Error: onnxruntime isn't installed, or the file is no model that it can read.
        """
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
            session = onnxruntime.InferenceSession(self.content, options)
            (image,), (first, second) = session.get_inputs(), session.get_outputs()
            names = image.name, first.name, second.name, len(image.shape)
            if names != (IMAGE, PROBABILITIES, SCORE, 4):
                raise ValueError(f"expected input {IMAGE}, outputs {PROBABILITIES} and {SCORE}")
        except Exception as error:  # onnxruntime's have no common class
            raise K49Error(
                f"{self.path}: not a model as `k49 export` writes it: {printable(error, 200)}"
            ) from error
        return session

    @cached_property
    def metadata(self) -> dict[str, str]:
        try:
            return self.session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise K49Error(f"{self.path}: its metadata are no UTF-8") from error

    @cached_property
    def provenance(self) -> Provenance:
        text = self.metadata.get(ONNX_PROVENANCE, "null")
        return parse_provenance(text.encode(), f"{self.path}: {ONNX_PROVENANCE}")

    @cached_property
    def averages(self) -> bool:
        text = self.metadata.get(AVERAGED, "false")
        return parse_json(text.encode(), f"{self.path}: {AVERAGED}") is True

    def size(self) -> tuple[int, ...]:
        return (*self.session.get_inputs()[0].shape[1:3], self.session.get_outputs()[0].shape[-1])

    def probabilities(self, images: np.ndarray, shifts: int, exponent: float) -> np.ndarray:
        if self.averages:
            return self.run(PROBABILITIES, images)

        def of_copies(part: np.ndarray) -> np.ndarray:
            """Average over copies; one run for all of them is quicker than nine."""
            probabilities = self.run(PROBABILITIES, np.concatenate(list(copies(part, shifts))))
            return probabilities.reshape(-1, len(part), probabilities.shape[-1]).mean(0)

        few = AT_ONCE // (2 * shifts + 1) ** 2
        parts = tracked(list(chunks(len(images), few)), f"predicting, batches of {few}")
        return sharpen(np.concatenate([of_copies(images[part]) for part in parts]), exponent)

    def scores(self, images: np.ndarray) -> np.ndarray:
        return self.run(SCORE, images)

    def run(self, output: str, images: np.ndarray) -> np.ndarray:
        parts = tracked(list(chunks(len(images), AT_ONCE)), f"predicting, batches of {AT_ONCE}")
        return np.concatenate(
            [self.session.run([output], {IMAGE: images[part]})[0] for part in parts]
        )
