"""Whether an exported model reads as the one that it was made of."""

from pathlib import Path

import numpy as np

from k49.data import chunks, spread
from k49.errors import K49Error
from k49.export.exported import PROBABILITIES
from k49.export.network import IMAGE

MOST_APART = 1e-5  # probabilities; the order of float32 sums alone makes 2e-6
IMAGES = 2_000  # at most


def largest_difference(onnx: Path, images: np.ndarray, probabilities: np.ndarray) -> float:
    """Return how far an ONNX file's probabilities are from those of the model it was made of.

    Args:
        onnx: the file.
        images: (N, H, W, 1) uint8; IMAGES of them are read.
        probabilities: (N, C), of the model.

    Raises:
        K49Error: more than MOST_APART.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx)
    chosen = spread(len(images), IMAGES)
    read = [
        session.run([PROBABILITIES], {IMAGE: images[chosen[part]]})[0]
        for part in chunks(len(chosen), 256)
    ]
    apart = float(np.abs(np.concatenate(read) - probabilities[chosen]).max())
    if not apart <= MOST_APART:
        raise K49Error(
            f"{onnx}: its probabilities are {apart:.1e} from those of the model, {MOST_APART:.0e} "
            "at most; is predictions/test.npz of another model?"
        )
    return apart
