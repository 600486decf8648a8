"""Which score tells what is no Kuzushiji, set so that 2 % of validation are taken for such?

    python -m benchmarks.outliers [FOLDER ...]

Each FOLDER is a project in which `dvc repro` has run. Pictures of `things`, 200 of each kind, are
prepared as `k49 predict` does. Writes benchmarks/outliers.json and .md.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import keras
import numpy as np
from scipy.special import logsumexp
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.epoch import machine, publish_of_folders
from benchmarks.things import KINDS, images
from k49.data import spread
from k49.files import read_npy
from k49.outside import read_json
from k49.provenance import calibrated
from k49.training import outliers
from k49.training.calibrate import REFUSED
from k49.training.detector import IMAGES, compile_features, extract, outlier_scores
from k49.training.model import load_model, predict_proba

EACH = 200  # pictures of a kind


def main() -> None:
    """Every score on every folder's model."""
    publish_of_folders("outliers", __doc__, of_model, table)


def of_model(folder: Path) -> Iterator[dict]:
    """A row for each score: the share of each kind, and of test, that it marks."""
    path = folder / "models/model.keras"
    said, _, _ = calibrated(path)
    shown = {name: read_npy(folder / f"data/split/{name}_images.npy") for name in ("val", "test")}
    for seed, kind in enumerate(KINDS):
        shown[kind] = images(kind, EACH, seed, shown["val"].shape[1:3])[..., np.newaxis]
    for score, found in scores(path, shown, folder).items():
        threshold = np.quantile(found["val"], 1 - REFUSED)
        marked = {kind: round(float((found[kind] > threshold).mean()), 4) for kind in found}
        every = np.concatenate([found[kind] for kind in KINDS]) > threshold
        yield {
            "data": read_json(folder / "metrics/data.json")["dataset"],
            "network": said.training.hyperparameters.network,
            "score": score,
            "all": round(float(every.mean()), 4),
            **marked,
        }
        print(folder, score, f"{every.mean():.3f}", flush=True)


def scores(path: Path, shown: dict, folder: Path) -> dict[str, dict]:
    """Every score of every image, higher for outliers."""
    model, (said, _, detector) = load_model(path), calibrated(path)
    classes, (*_, last) = model.output_shape[-1], model.layers[-3].input.shape
    features = compile_features(model)
    seen = {kind: extract(features, each) for kind, each in shown.items()}
    logits = {kind: each[:, -2 * classes : -classes] for kind, each in seen.items()}
    train = read_npy(folder / "data/split/train_images.npy")
    labels = read_npy(folder / "data/split/train_labels.npy").argmax(1)
    rows = spread(len(train), IMAGES)
    own, labels = train[rows], labels[rows]
    hidden = slice(-2 * classes - last, -2 * classes)
    distance = mahalanobis(extract(features, own)[:, hidden], labels)
    drawn = {
        "all": outliers.outliers(own, said.training.seed),
        "no letters": without_letters(own, said.training.seed),
    }

    def fitted(columns: slice, made: str = "all") -> dict:
        x = extract(features, np.concatenate([own, drawn[made]]))[:, columns]
        found = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        found.fit(x, np.repeat([0, 1], len(own)))
        return {kind: found.decision_function(each[:, columns]) for kind, each in seen.items()}

    return {
        "highest probability": {
            kind: -predict_proba(model, each).max(1) for kind, each in shown.items()
        },
        "the same, with TTA": {
            kind: -predict_proba(model, each, 1).max(1) for kind, each in shown.items()
        },
        "highest logit": {kind: -each.max(1) for kind, each in logits.items()},
        "energy": {kind: -logsumexp(each, axis=1) for kind, each in logits.items()},
        "Mahalanobis distance, last layer": {
            kind: distance(each[:, hidden]) for kind, each in seen.items()
        },
        "detector on the last layer alone": fitted(hidden),
        "detector without the ordered logits": fitted(slice(-classes)),
        "detector that has seen no letters": fitted(slice(None), "no letters"),
        "**detector**": {
            kind: outlier_scores(model, detector, each) for kind, each in shown.items()
        },
    }


def without_letters(own: np.ndarray, seed: int) -> np.ndarray:
    """Outliers among which are no letters and digits."""
    others = tuple(draw for draw in outliers.DRAWN if draw is not outliers.letter)
    with patch.object(outliers, "DRAWN", others):
        return outliers.outliers(own, seed)


def mahalanobis(x: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The distance from the nearest class's mean (K. Lee et al., 2018, arXiv:1807.03888)."""
    means = np.stack([x[labels == label].mean(0) for label in np.unique(labels)])
    places = np.searchsorted(np.unique(labels), labels)
    precision = LedoitWolf().fit(x - means[places]).precision_

    def distance(of: np.ndarray) -> np.ndarray:
        apart = ((each := of - mean) @ precision * each for mean in means)
        return np.min([each.sum(1) for each in apart], axis=0)

    return distance


def table(rows: list[dict]) -> str:
    """In Markdown."""
    kinds = ["all", *KINDS, "test"]
    lines = [
        "# Outliers",
        "",
        f"Of each kind of picture, {EACH} of each, which share a score marks, in percent, if it is "
        f"set so that it marks {REFUSED:.0%} of validation; `test` are the test images "
        "themselves, of which none should be. Pictures without ink are refused before. By "
        "`python -m benchmarks.outliers`.",
        "",
        machine(),
    ]
    for data, network in dict.fromkeys((row["data"], row["network"]) for row in rows):
        lines += ["", f"## {network}, {data}", "", f"| score | {' | '.join(kinds)} |"]
        lines += ["|---" * (len(kinds) + 1) + "|"]
        for row in rows:
            if (row["data"], row["network"]) == (data, network):
                cells = " | ".join(f"{100 * row[kind]:.1f}" for kind in kinds)
                lines.append(f"| {row['score']} | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    main()
