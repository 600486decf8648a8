"""A model as an ONNX graph, for onnxruntime and whatever else reads that.

Written with `onnx.helper`: Keras' own export needs tf2onnx, and with it older packages than the
pinned ones. Values are (N, C, H, W) there, as convolutions are fastest.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from k49.data import chunks, spread
from k49.errors import K49Error
from k49.export.exported import Exported
from k49.export.network import NotExportableError, Operation
from k49.io import atomic_write
from k49.model_file import IMAGE, PROBABILITIES, SCORE
from k49.settings import Detector

OPSET, IR = 18, 8  # of 2022: onnxruntime has read them since 1.14
BATCH = "N"
MOST_DIFFERENCE = 1e-3  # where logits are in the thousands, float32 makes 1e-4
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}
POOLS = {"average_pool": "AveragePool", "max_pool": "MaxPool"}
MOST_DIFFERENCE_ON_TEST = 1e-5  # probabilities; the order of float32 sums alone makes 2e-6
IMAGES = 2_000  # at most


def write(exported: Exported, path: Path) -> None:
    """Write a model as ONNX.

    Input `image`, uint8 (N, H, W, 1). Outputs `probabilities`, float32 (N, C), and `outlier_score`,
    float32 (N,). The provenance of the model is in the metadata.

    Raises:
        NotExportableError: it would compute something else than Keras.
    """
    content = serialize(Graph(exported).build(), exported.about)
    session = onnxruntime.InferenceSession(content)
    (probabilities,) = session.run([PROBABILITIES], {IMAGE: exported.tried})
    difference = float(np.abs(probabilities - exported.expected).max())
    if not difference <= MOST_DIFFERENCE:
        raise NotExportableError(
            f"as ONNX its probabilities would be {difference:.1e} from those of Keras, "
            f"{MOST_DIFFERENCE:.0e} at most"
        )
    with atomic_write(path) as tmp:
        tmp.write_bytes(content)


def serialize(graph: onnx.GraphProto, about: dict[str, str]) -> bytes:
    """Return a graph as the bytes of a file, the same ones every time."""
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="k49",
        doc_string=about["description"],
    )
    helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def compare_layers(exported: Exported) -> None:
    """Compare the results of operations with those of Keras' layers.

    Raises:
        NotExportableError: they differ; names the first such layer.
    """
    graph = Graph(replace(exported, averaged=False))
    proto = graph.build()
    names = [graph.results[name] for name in exported.layers]
    for name, result in zip(names, exported.layers.values(), strict=True):
        shape = (f"{name} {i}" for i in range(result.ndim))
        proto.output.append(tensor(name, TensorProto.FLOAT, *shape))
    session = onnxruntime.InferenceSession(serialize(proto, exported.about))
    results = session.run(names, {IMAGE: exported.tried})
    for (name, of_keras), result in zip(exported.layers.items(), results, strict=True):
        ours = result.transpose(0, 2, 3, 1) if graph.is_image[name] else result
        difference = np.abs(ours - of_keras).max() if ours.shape == of_keras.shape else np.inf
        difference /= max(1, np.abs(of_keras).max())
        if not difference <= MOST_DIFFERENCE:
            raise NotExportableError(
                f"layer {name.removesuffix('/activation')} would compute something else than in "
                f"Keras (by {difference:.1e} of its largest result)"
            )


class Graph:
    def __init__(self, exported: Exported) -> None:
        self.exported = exported
        self.shifts = exported.shifts if exported.averaged else 0
        self.copies = (2 * self.shifts + 1) ** 2
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.results: dict[str, str] = {}  # of an operation's name, its node's
        self.is_image: dict[str, bool] = {}  # (N, C, H, W), not (N, C)

    def build(self) -> onnx.GraphProto:
        network, detector = self.exported.network, self.exported.detector
        height, width = network.image_size
        values = self.node("Cast", IMAGE, to=TensorProto.FLOAT)
        values = self.node("Transpose", values, perm=[0, 3, 1, 2])
        self.results[IMAGE] = self.shifted(values) if self.shifts else values
        self.is_image[IMAGE] = True
        for operation in network.operations:
            self.results[operation.name] = self.add(operation)
        probabilities = self.results[network.operations[-1].name]
        if self.shifts:
            probabilities = self.mean_of_copies(probabilities)
        self.node("Identity", probabilities, name=PROBABILITIES)
        self.score(detector)
        outputs = [
            tensor(PROBABILITIES, TensorProto.FLOAT, BATCH, network.classes),
            tensor(SCORE, TensorProto.FLOAT, BATCH),
        ]
        image = tensor(IMAGE, TensorProto.UINT8, BATCH, height, width, 1)
        return helper.make_graph(self.nodes, "k49", [image], outputs, self.weights)

    def node(self, kind: str, *takes: str, name: str = "", **options: Any) -> str:
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(takes), [name], **options))
        return name

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def add(self, operation: Operation) -> str:
        """Add the nodes of an operation; return the name of the result."""
        takes = [self.results[name] for name in operation.takes]
        kind, arrays, options = operation.kind, operation.arrays, operation.options
        image = self.is_image[operation.takes[0]]
        self.is_image[operation.name] = image and kind not in ("flatten", "mean")
        if kind == "scale":
            return self.node("Mul", *takes, self.constant(options["by"]))
        if kind == "flatten":
            return self.node("Flatten", self.node("Transpose", *takes, perm=[0, 2, 3, 1]))
        if kind == "dense":
            weights = (self.constant(arrays[name]) for name in ("kernel", "bias"))
            return self.node("Gemm", *takes, *weights)
        if kind == "convolve":
            return self.convolve(takes[0], operation)
        if kind == "affine":
            shape = (-1, 1, 1) if image else (-1,)
            factor, shift = (self.constant(arrays[n].reshape(shape)) for n in ("factor", "shift"))
            return self.node("Add", self.node("Mul", *takes, factor), shift)
        if kind in POOLS:
            size = [options["size"]] * 2
            return self.node(POOLS[kind], *takes, kernel_shape=size, strides=size)
        if kind == "mean":
            return self.mean_of_pixels(takes[0])
        if kind == "softmax":
            return self.node("Softmax", *takes, axis=1)
        return self.node({**ACTIVATIONS, "add": "Add"}[kind], *takes)

    def convolve(self, takes: str, operation: Operation) -> str:
        kernel = operation.arrays["kernel"]
        around = [(length - 1) // 2 for length in kernel.shape[:2]]
        after = [length - 1 - before for length, before in zip(kernel.shape, around, strict=False)]
        pads = [*around, *after] if operation.options["padded"] else [0] * 4
        weights = self.constant(kernel.transpose(3, 2, 0, 1))
        bias, groups = self.constant(operation.arrays["bias"]), operation.options["groups"]
        return self.node("Conv", takes, weights, bias, pads=pads, group=groups)

    def mean_of_pixels(self, takes: str) -> str:
        return self.node("ReduceMean", takes, self.constant([2, 3], np.int64), keepdims=0)

    def shifted(self, image: str) -> str:
        """Add copies of the image, moved by up to `shifts` pixels: (copies * N, 1, H, W)."""
        n, (height, width) = self.shifts, self.exported.network.image_size
        padded = self.node("Pad", image, self.constant([0, 0, n, n, 0, 0, n, n], np.int64))
        axes = self.constant([2, 3], np.int64)
        moved = [
            self.node(
                *("Slice", padded, self.constant([down, right], np.int64)),
                *(self.constant([down + height, right + width], np.int64), axes),
            )
            for down in range(2 * n + 1)
            for right in range(2 * n + 1)
        ]
        return self.node("Concat", *moved, axis=0)

    def by_copy(self, value: str, width: int) -> str:
        """Add a view of (copies * N, width) as (copies, N, width)."""
        return self.node("Reshape", value, self.constant([self.copies, -1, width], np.int64))

    def mean_of_copies(self, probabilities: str) -> str:
        """Add the mean of the copies' probabilities, to the power of the calibration's exponent."""
        copies = self.by_copy(probabilities, self.exported.network.classes)
        mean = self.node("ReduceMean", copies, self.constant([0], np.int64), keepdims=0)
        largest = self.node("ReduceMax", mean, self.constant([1], np.int64), keepdims=1)
        mean = self.node("Div", mean, largest)  # else a large exponent leaves nothing of a row
        power = self.node("Pow", mean, self.constant(self.exported.calibration.exponent))
        total = self.node("ReduceSum", power, self.constant([1], np.int64), keepdims=1)
        return self.node("Div", power, total)

    def score(self, detector: Detector) -> None:
        """Add the detector, of the image that isn't moved."""
        network = self.exported.network
        means = [
            self.mean_of_pixels(self.results[name]) if self.is_image[name] else self.results[name]
            for name in network.hidden
        ]
        logits = self.results[network.logits]
        number = self.constant([network.classes], np.int64)
        ordered = f"ordered_{len(self.nodes)}"
        self.nodes.append(helper.make_node("TopK", [logits, number], [ordered, "order"], axis=1))
        features = self.node("Concat", *means, logits, ordered, axis=1)
        if self.shifts:
            middle = self.constant(self.copies // 2, np.int64)
            copies = self.by_copy(features, len(detector.weights))
            features = self.node("Gather", copies, middle, axis=0)
        weights = self.constant(np.reshape(detector.weights, (-1, 1)))
        score = self.node("Gemm", features, weights, self.constant([detector.bias]))
        self.node("Reshape", score, self.constant([-1], np.int64), name=SCORE)


def tensor(name: str, dtype: int, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def largest_difference(onnx: Path, images: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the largest difference between an ONNX file's probabilities and its model's.

    Args:
        onnx: the file.
        images: (N, H, W, 1) uint8; IMAGES of them are read.
        probabilities: (N, C), of the model.

    Raises:
        K49Error: more than MOST_DIFFERENCE_ON_TEST.
    """
    session = onnxruntime.InferenceSession(onnx)
    chosen = spread(len(images), IMAGES)
    outputs = [
        session.run([PROBABILITIES], {IMAGE: images[chosen[part]]})[0]
        for part in chunks(len(chosen), 256)
    ]
    difference = float(np.abs(np.concatenate(outputs) - probabilities[chosen]).max())
    if not difference <= MOST_DIFFERENCE_ON_TEST:
        raise K49Error(
            f"{onnx}: its probabilities are {difference:.1e} from those of the model, at most "
            f"{MOST_DIFFERENCE_ON_TEST:.0e}; is predictions/test.npz of another model?"
        )
    return difference
