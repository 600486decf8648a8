"""Loss and accuracy of a model on a dataset, read a chunk at a time."""

import keras
import numpy as np

from k49.data import Dataset, chunks
from k49.profiling import timed
from k49.training.engine import SCORED_AT_ONCE, compile_score_block


class Scorer:
    """A model made ready to be scored again and again while it trains."""

    def __init__(self, model: keras.Model) -> None:
        self.score_block = compile_score_block(model)
        with timed("compiling"):
            self.score_block(
                np.zeros((SCORED_AT_ONCE, *model.input_shape[1:]), np.uint8),
                np.zeros((SCORED_AT_ONCE, *model.output_shape[1:]), np.uint8),
            )

    def __call__(self, dataset: Dataset) -> tuple[float, float]:
        """Return mean cross-entropy and accuracy, a share of 1, without dropout."""
        sums = np.zeros(2)
        for chunk in chunks(len(dataset), SCORED_AT_ONCE):
            images, labels = zero_padded(dataset.images[chunk]), zero_padded(dataset.labels[chunk])
            sums += self.score_block(images, labels).numpy()
        loss, accuracy = sums / len(dataset)
        return float(loss), float(accuracy)


def zero_padded(chunk: np.ndarray) -> np.ndarray:
    """Pad a chunk with zeros to SCORED_AT_ONCE: one compiled program serves all chunks."""
    if len(chunk) == SCORED_AT_ONCE:
        return chunk
    return np.concatenate(
        [chunk, np.zeros((SCORED_AT_ONCE - len(chunk), *chunk.shape[1:]), chunk.dtype)]
    )
