"""Loss and accuracy of a model on a dataset, read a piece at a time."""

import keras
import numpy as np

from k49.data import IMAGE_SHAPE, NUM_CLASSES, PIECE, Dataset, pieces
from k49.training.engine import compile_score_block
from k49.usage import timed


class Scorer:
    """A model made ready to be scored again and again while it trains."""

    def __init__(self, model: keras.Model) -> None:
        self.score_block = compile_score_block(model)
        with timed("compiling"):
            self.score_block(
                np.zeros((PIECE, *IMAGE_SHAPE), np.uint8), np.zeros((PIECE, NUM_CLASSES), np.uint8)
            )

    def __call__(self, dataset: Dataset) -> tuple[float, float]:
        """Mean cross-entropy, and accuracy as a share of 1, as the model is used: no dropout."""
        sums = np.zeros(2)
        for piece in pieces(len(dataset)):
            images, labels = filled(dataset.images[piece]), filled(dataset.labels[piece])
            sums += self.score_block(images, labels).numpy()
        loss, accuracy = sums / len(dataset)
        return float(loss), float(accuracy)


def filled(piece: np.ndarray) -> np.ndarray:
    """The piece, with zeros behind it if it is short: one compiled program does for all."""
    if len(piece) == PIECE:
        return piece
    return np.concatenate([piece, np.zeros((PIECE - len(piece), *piece.shape[1:]), piece.dtype)])
