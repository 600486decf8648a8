"""A model ready to be written in another form: its network, detector and metadata."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from k49.errors import K49Error, is_out_of_memory
from k49.export.network import Network, NotExportableError, images_to_try, network_of
from k49.io import hash_of, md5
from k49.model_file import (
    AVERAGED,
    DETECTOR,
    ONNX_PROVENANCE,
    PREPARATION,
    SOURCE,
    check_shape,
    read_provenance,
)
from k49.settings import Calibration, DatasetInfo, Detector
from k49.tta import averaged as shifted_mean
from k49.tta import sharpen

PICTURES = Path(__file__).parents[1] / "pictures"  # whose twin the page has


@dataclass(frozen=True)
class Exported:
    network: Network
    dataset: DatasetInfo
    shifts: int  # over which `k49 predict` averages
    calibration: Calibration
    detector: Detector
    averaged: bool  # in the form itself, if it can
    tried: np.ndarray  # images (N, H, W, 1) uint8, and for them ...
    layers: dict[str, np.ndarray]  # ... Keras' results by the names of operations,
    expected: np.ndarray  # and the probabilities (N, C) that the form has to give
    about: dict[str, str]  # for people, and for whoever asks where it comes from


def load(
    path: Path,
    metrics: dict[str, Any] | None = None,
    commit: str | None = None,
    averaged: bool = False,
) -> Exported:
    """Read a model file.

    Args:
        path: of the `.keras` file.
        metrics: of the model, to tell.
        commit: of the project, likewise.
        averaged: over as many shifts as the model file says, in the form itself.

    Raises:
        NotExportableError: its network has something that other forms don't.
        K49Error: it is no model, or its parts don't fit together.
    """
    from k49.training.model import layer_outputs, load_model  # Keras takes seconds: only now

    provenance, detector = read_provenance(path)
    dataset, calibration = provenance.dataset, provenance.calibration
    model = load_model(path)
    try:
        network = network_of(model)
        tried = images_to_try(network.image_size)
        layers = keras_results(network, model, tried)
    except NotExportableError as error:
        raise NotExportableError(f"{path}: {error}") from error
    except Exception as error:  # of unforeseen layers
        if is_out_of_memory(error):
            raise
        raise NotExportableError(
            f"{path}: its network can't be exported: {type(error).__name__}: {error}"
        ) from error
    check_shape(path, (*network.image_size, network.classes), dataset)
    if len(detector.weights) != network.features:
        raise K49Error(
            f"{path}: {DETECTOR} has {len(detector.weights)} weights, and its network "
            f"{network.features} features"
        )
    about = {
        "description": f"Reads single characters: uint8 images (N, {network.image_size[0]}, "
        f"{network.image_size[1]}, 1), light ink on black, to probabilities of the classes.",
        "classes": json.dumps(dataset.classes, ensure_ascii=False),
        "data": dataset.name,
        "licence": f"Apache-2.0; data: {dataset.licence or 'unknown'}",
        **({"warning": dataset.warning} if dataset.warning else {}),
        ONNX_PROVENANCE: provenance.model_dump_json(),
        **({"metrics": json.dumps(metrics)} if metrics else {}),
        **({"commit": commit} if commit else {}),
        SOURCE: md5(path),
        PREPARATION: hash_of(sorted(PICTURES.glob("*.py"))),
        AVERAGED: json.dumps(averaged),
    }
    shifts = provenance.shifts
    expected = sharpen(
        shifted_mean(
            lambda x: layer_outputs(model, [model.layers[-1].name], x)[0],
            tried,
            shifts if averaged else 0,
        ),
        calibration.exponent if averaged else 1.0,
    )
    return Exported(
        network=network,
        dataset=dataset,
        shifts=shifts,
        calibration=calibration,
        detector=detector,
        averaged=averaged,
        tried=tried,
        layers=layers,
        expected=expected,
        about=about,
    )


def keras_results(network: Network, model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the results of Keras' layers, by the names of the operations that stand for them."""
    from k49.training.model import layer_outputs  # Keras is there, since a model is

    known = {layer.name for layer in model.layers}
    # the result of a layer with an activation of its own is that of the activation
    names = {
        operation.name.removesuffix("/activation"): operation.name
        for operation in network.operations
    }
    compared = [name for name in names if name in known]
    results = layer_outputs(model, compared, images)
    return {names[name]: result for name, result in zip(compared, results, strict=True)}
