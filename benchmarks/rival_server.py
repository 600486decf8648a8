"""Ways in which others serve a classifier, for `serving`: FastAPI, a call of the model a request.

    WAY=keras .venv-bench/bin/uvicorn benchmarks.rival_server:app

`keras` calls `model.predict`, and `torch` a network of PyTorch. `peer` does for each request what
koroku1023/kuzushiji-49-inference-server does (app/inference at 02ce7fd), on this network: it takes
an .npz, keeps a compressed copy, loads the network from disk, calls it through a DataLoader, reads
the table of classes, and keeps the answer in a file. Images have 28 x 28 pixels and are read as
they are, once: no ink is looked for, nothing is averaged, nobody refused. One process, as by
default.
"""

import csv
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from fastapi import FastAPI, UploadFile
from PIL import Image
from torch.utils.data import DataLoader

from k49.export.exported import load
from k49.export.network import Operation
from k49.training.model import load_model

MODEL = Path("models/model.keras")
DATASET = load(MODEL).dataset
KEPT = Path(tempfile.mkdtemp())
CLASS_MAP = KEPT / "k49_classmap.csv"
CLASS_MAP.write_text(
    "\n".join(["index,char", *(f"{i},{c}" for i, c in enumerate(DATASET.classes))])
)
app = FastAPI()


class Scale(torch.nn.Module):
    """Multiplies by a number."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Do so."""
        return values * self.by


def layer(step: Operation) -> torch.nn.Module:
    """A layer of PyTorch that does what an operation of an mlp does."""
    if step.kind == "dense":
        kernel, bias = (torch.from_numpy(step.arrays[name]) for name in ("kernel", "bias"))
        made = torch.nn.Linear(*kernel.shape)
        made.weight.data, made.bias.data = kernel.T.contiguous(), bias
        return made
    if step.kind == "scale":
        return Scale(step.options["by"])
    return {"flatten": torch.nn.Flatten, "relu": torch.nn.ReLU, "softmax": softmax}[step.kind]()


def softmax() -> torch.nn.Module:
    """Over the classes."""
    return torch.nn.Softmax(1)


def network() -> torch.nn.Module:
    """The model in PyTorch's layers."""
    return torch.nn.Sequential(*map(layer, load(MODEL).network.operations)).eval()


def called(made: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Probabilities of images (N, H, W, 1) uint8."""
    with torch.no_grad():
        return made(torch.from_numpy(images).float()).numpy()


def of_torch() -> Callable[[np.ndarray], np.ndarray]:
    """A function from images to probabilities."""
    made = network()
    return lambda images: called(made, images)


def of_peer() -> Callable[[np.ndarray], np.ndarray]:
    """A function from images to probabilities, which loads the network each time."""
    torch.save(network(), KEPT / "network.pt")

    def read(images: np.ndarray) -> np.ndarray:
        """Read images."""
        np.savez_compressed(KEPT / f"input_{time.time_ns()}.npz", arr_0=images)
        made = torch.load(KEPT / "network.pt", weights_only=False)
        return np.concatenate([called(made, part.numpy()) for part in DataLoader(images, 512)])

    return read


def of_keras() -> Callable[[np.ndarray], np.ndarray]:
    """A function from images to probabilities."""
    model = load_model(MODEL)
    return lambda images: model.predict(images, verbose=0)


WAY = os.environ["WAY"]
probabilities = {"keras": of_keras, "torch": of_torch, "peer": of_peer}[WAY]()


@app.post("/v1/predict")
async def predict(file: UploadFile) -> list[dict]:
    """Read an image."""
    content = io.BytesIO(await file.read())
    image = np.load(content)["arr_0"] if WAY == "peer" else np.asarray(Image.open(content))
    (row,) = probabilities(image[np.newaxis, ..., np.newaxis])
    names = DATASET.classes
    if WAY == "peer":
        with CLASS_MAP.open(encoding="utf-8") as table:
            names = [line["char"] for line in csv.DictReader(table)]
    answer = [
        {"character": names[label], "probability": float(row[label])}
        for label in np.argsort(-row)[:5]
    ]
    if WAY == "peer":
        with (KEPT / f"results_{time.time_ns()}.json").open("w") as kept:
            json.dump(answer, kept, ensure_ascii=False, indent=4)
    return answer
