"""A model's weights by name, as safetensors: for programs that build the network themselves."""

from pathlib import Path

from safetensors.numpy import save

from k49.export.exported import Exported
from k49.files import atomic_write


def write(exported: Exported, path: Path) -> None:
    """Write the weights of each operation, `name.kernel`, `name.bias` and so on, all float32.

    As Keras has them: (in, out) of a dense layer, (H, W, in, out) of a convolution; batch
    normalization is folded in. The detector's are `detector.weights` and `detector.bias`. The
    metadata are those of ONNX, and `operations`: name, kind, what it takes and its options, each.
    """
    arrays = {
        f"{operation.name}.{key}": array
        for operation in exported.network.operations
        for key, array in operation.arrays.items()
    }
    if exported.detector is not None:
        arrays["detector.weights"] = exported.detector.weights
        arrays["detector.bias"] = exported.detector.bias
    metadata = {**exported.about, "operations": exported.network.as_json()}
    with atomic_write(path) as tmp:
        tmp.write_bytes(save(arrays, metadata))
