"""What tests of several rooms need: a repository with DVC, stages as processes, small data."""

import hashlib
import io
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from ruamel.yaml import YAML

from k49.data import Dataset, descriptions, one_hot
from k49.data import raw as raws
from k49.io import atomic_write, flatten, read_json, read_yaml
from k49.model_file import calibrated_parts
from k49.settings import (
    Augment,
    Calibration,
    Data,
    DatasetInfo,
    Detector,
    Fit,
    Hyperparameters,
    Provenance,
    Standin,
    TrainingConfig,
    read_recipe,
)

ROOT = Path(__file__).resolve().parents[1]

GUIDE = (ROOT / "docs/experiments.md").read_text("utf-8")
DAG = read_yaml(ROOT / "dvc.yaml")
STAGES = list(DAG["stages"])


def outputs(stage):
    """The paths of everything that a stage leaves."""
    kinds = (DAG["stages"][stage].get(kind, []) for kind in ("outs", "metrics", "plots"))
    entries = itertools.chain.from_iterable(kinds)
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


OUTPUTS = [path for stage in STAGES for path in outputs(stage)]

# params.yaml as the project has it, whatever value an experiment has changed in it
DATA_DEFAULTS = {
    "data": {
        "source": "standin",
        "invert": False,
        "transpose": False,
        "normalize": None,
        "image_size": None,
        "test_share": 0.15,
        "seed": 49,
        "exclude": None,
        "relabel": None,
        "clean_test": None,
        "mirrors": [],
        "timeout": 30,
        "retries": 4,
    },
    "standin": {"classes": 49, "seed": 49, "scale": 0.15, "train_books": 90, "test_books": 30},
    "split": {"seed": 49, "validation_share": 0.16589, "folds": 5, "fold": None},
    "tune": {"workers": None, "scheduler": None},
    "gate": {"overfitting_gap": 0.1, "fall": 0.0},
}


def default_params() -> Path:
    """The path of params.yaml with the values of the recipe `default`, and its own comments."""
    yaml = YAML()
    yaml.width = 1000
    content = yaml.load((ROOT / "params.yaml").read_text("utf-8"))
    recipe = read_recipe("default")
    added = set(content["spaces"]) - {path.stem for path in (ROOT / "k49/recipes").glob("*.yaml")}
    for name in added:
        del content["spaces"][name]
    changed = bool(added)
    for values in (recipe, DATA_DEFAULTS):
        for key, value in flatten(values):
            *sections, last = key.split(".")
            node = content
            for section in sections:
                node = node[section]
            if node[last] != value:
                node[last], changed = value, True
    if not changed:
        return ROOT / "params.yaml"
    path = ROOT / ".pytest_cache" / "params.yaml"
    with atomic_write(path) as tmp, tmp.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)
    return path


# Enough for every stage to do its work, and no more.
SMALL = {
    "standin.scale": 0.002,
    "standin.train_books": 3,
    "standin.test_books": 2,
    "tune.trials": 2,
    "tune.epochs": 1,
    "train.epochs": 2,
    "train.min_steps": 0,
    "evaluate.resamples": 100,
}
SMALL_SPACE = {
    "layers.min": 1,
    "layers.max": 2,
    "units.min": 16,
    "units.max": 64,
    "units.step": 16,
}


PLAIN = Fit(  # nothing that a recipe may add
    batch_size=49,
    batch_normalization=False,
    weight_decay=0.0,
    schedule="constant",
    warmup_ratio=0.0,
    label_smoothing=0.0,
    dropout=0.0,
    patience=None,
)

NO_AUGMENT = Augment(
    enabled=False, rotation=0.0, scale=0.0, shear=0.0, shift=0.0, elastic=0.0, elastic_grid=5
)

SMALL_MODEL = Hyperparameters(
    network="mlp",
    units=[16, 8],
    activation="relu",
    initializer="he_uniform",
    learning_rate=0.01,
    weight_decay=None,
)
PARAMS = default_params()
K49 = descriptions.packaged("k49")
CHARACTERS = K49.classes
SHAPE = (28, 28, 1), 49  # of an image, and how many classes
SMALL_CNN = SMALL_MODEL.model_copy(update={"network": "cnn", "units": [4, 8]})


DATA = Data(
    source="standin",
    invert=False,
    transpose=False,
    normalize=None,
    image_size=None,
    test_share=0.25,
    seed=49,
    mirrors=[],
    timeout=5.0,
    retries=0,
)
STANDIN = Standin(classes=49, seed=49, scale=0.001, train_books=1, test_books=1)


def class_map(characters) -> str:
    """The text of a file as k49_classmap.csv."""
    rows = [f"{i},U+{ord(char):04X},{char}" for i, char in enumerate(characters)]
    return "\n".join(["index,codepoint,char", *rows]) + "\n"


def slow(*values) -> list:
    """Values of `pytest.mark.parametrize` that `make test-fast` leaves out."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def info_of(name: str = "bars", **changes) -> DatasetInfo:
    """A dataset of K49's classes and images, but for the changes."""
    known = {"classes": CHARACTERS, "image_size": [28, 28], "normalize": "ink", "invert": False}
    rights = descriptions.rights(descriptions.packaged("standin") if "stand-in" in name else K49)
    return DatasetInfo(**{"name": name, **known, **rights, **changes})


CALIBRATION = Calibration(
    inverse_temperature=1.5, exponent=1.2, certain=0.03, averaged_certain=0.04, outlier=0.0
)


NO_CALIBRATION = Calibration(
    inverse_temperature=1.0, exponent=1.0, certain=0.0, averaged_certain=0.0, outlier=100.0
)


def provenance_of(
    dataset: str, shifts: int = 0, calibration: Calibration = NO_CALIBRATION, **changes
) -> Provenance:
    """The provenance of a model that was trained on `dataset` for three epochs."""
    config = TrainingConfig(
        hyperparameters=SMALL_MODEL, fit=PLAIN, augment=NO_AUGMENT, epochs=3, seed=1
    )
    info = info_of(dataset, **changes)
    return Provenance(dataset=info, training=config, shifts=shifts, calibration=calibration)


def save_as(path, model, provenance: Provenance | None = None, detector: Detector | None = None):
    """Save a model as stage `calibrate` does; by default with a detector of drawn weights."""
    from k49.calibration.detector import compile_features
    from k49.training.model import save_model

    if detector is None:
        images = np.zeros((1, *model.input_shape[1:]), np.uint8)
        features = compile_features(model)(images).shape[1]
        weights = np.random.default_rng(1).normal(size=features) / features
        detector = Detector(weights=weights.astype(np.float32).tolist(), bias=0.125)
    save_model(model, path, calibrated_parts(provenance or provenance_of("bars"), detector))


def save_calibrated(path, hyperparameters=SMALL_MODEL, shifts=1, seed=0, **known):
    """Save an untrained model of some network as stage `calibrate` does.

    Its weights, the means of its batch normalization and its detector are drawn.
    """
    from k49.calibration.calibrate import with_temperature
    from k49.training.fit import make_repeatable
    from k49.training.model import build_model

    make_repeatable(seed)
    rng = np.random.default_rng(seed)
    provenance = provenance_of("bars", shifts, CALIBRATION, **known)
    shape = (*provenance.dataset.image_size, 1)
    fitted = plain(batch_normalization=True, dropout=0.1)
    model = build_model(hyperparameters, fitted, shape, len(provenance.dataset.classes))
    model.set_weights(
        [
            each * rng.uniform(0.8, 1.6, each.shape) + (each.ndim == 1) * rng.uniform(0, 0.3)
            for each in model.get_weights()
        ]
    )
    save_as(path, with_temperature(model, CALIBRATION.inverse_temperature), provenance)


@dataclass(frozen=True)
class Repo:
    """A git repository with the pipeline, and what tests do with one."""

    path: Path

    def run(self, *command, check=True, **kwargs):
        """Run a command here; returns it with stdout and stderr together in `stdout`."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.path,
            env=environment(self.path, kwargs.pop("warm", True)),
            stdout=subprocess.PIPE,
            stderr=kwargs.pop("stderr", subprocess.STDOUT),
            text=True,
            encoding="utf-8",
            **kwargs,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}"
        return done

    def dvc(self, *arguments, **kwargs):
        return self.run("dvc", *arguments, **kwargs)

    def dvc_json(self, *arguments):
        """The JSON that a dvc command prints, its stderr left out."""
        return json.loads(self.dvc(*arguments, "--json", stderr=subprocess.DEVNULL).stdout)

    def git(self, *arguments, **kwargs):
        return self.run("git", *arguments, **kwargs)

    def commit(self, message):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--message", message)

    def read(self, name):
        """The content of a JSON or YAML file, else its text."""
        read = {".json": read_json, ".yaml": read_yaml, ".lock": read_yaml}
        path = self.path / name
        return read.get(path.suffix, lambda path: path.read_text("utf-8"))(path)

    def set_param(self, key, value):
        """Change one value in params.yaml and not another character, as a person would."""
        file = self.path / "params.yaml"
        lines = file.read_text("utf-8").splitlines(keepends=True)
        node = YAML().load("".join(lines))
        *sections, last = key.split(".")
        for section in sections:
            node = node[section]
        number, column = node.lc.key(last) if node[last] is None else node.lc.value(last)
        line = lines[number]
        old = rf"{last}:" if node[last] is None else r"\S+"
        new = f"{last}: {value}" if node[last] is None else str(value)
        lines[number] = line[:column] + re.sub(old, new, line[column:], count=1)
        file.write_text("".join(lines), "utf-8")

    def wait_for_queue(self):
        """Until no experiment waits or runs; most often `dvc queue start` has waited already."""
        queue = "Running"
        for _ in range(100):
            with suppress(subprocess.TimeoutExpired):  # libgit2/pygit2#1488: it may hang
                queue = self.dvc("queue", "status", timeout=60).stdout
            assert "Failed" not in queue, queue
            if "Running" not in queue and "Queued" not in queue:
                return
            time.sleep(3)  # to ask costs a second of a processor, which the experiments need
        raise AssertionError(queue)

    def copy_to(self, folder):
        """A copy in `folder`, with DVC's cache."""
        shutil.copytree(self.path, folder / "repo", symlinks=True)
        return Repo(folder / "repo")

    def contents(self):
        """Path and bytes of every output of the pipeline, and of dvc.lock."""
        folders = ("data/raw", "data/split", "metrics", "models", "plots", "predictions")
        files = [file for folder in folders for file in (self.path / folder).rglob("*")]
        files = [self.path / "dvc.lock", *files]
        return {
            str(file.relative_to(self.path)): file.read_bytes()
            for file in files
            if file.is_file() and file.name != ".gitignore"
        }


def environment(folder, warm=True):
    """This process's, without what git and DVC pass to their own hooks and stages.

    `warm`: with commands that start at once, as tests/warm has them.
    """
    left_out = ("GIT_", "DVC") if warm else ("GIT_", "DVC", "K49_WARM")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    folders = [kept.get("K49_WARM"), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        **kept,
        "PATH": os.pathsep.join(filter(None, folders)),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.with_name(f"{folder.name}.dvc-site-cache")),
        "PYTHONUNBUFFERED": "1",
    }


def python_path(*folders):
    """This process's PYTHONPATH, with some folders before it."""
    return os.pathsep.join(map(str, filter(None, [*folders, os.environ.get("PYTHONPATH")])))


def copy_files(target):
    """Copy what git tracks, or would, with the changes that are not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    shutil.copyfile(PARAMS, target / "params.yaml")


def stages_run(output):
    """The stages that an output of `dvc repro` or `dvc exp run` says were run."""
    return re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE)


def reproduce(folder):
    """Make a `Repo` in `folder`, reproduce everything in it and commit; the log is next to it."""
    repo = Repo(folder)
    repo.path.mkdir(parents=True)
    copy_files(repo.path)
    repo.git("init", "--quiet", "--initial-branch=main")
    repo.git("config", "user.name", "Test")
    repo.git("config", "user.email", "test@example.invalid")
    repo.git("config", "commit.gpgsign", "false")
    space = f"spaces.{repo.read('params.yaml')['tune']['space']}"
    for key, value in {**SMALL, **{f"{space}.{k}": v for k, v in SMALL_SPACE.items()}}.items():
        repo.set_param(key, value)
    repo.commit("small")
    output = repo.dvc("repro").stdout
    repo.path.with_name("repro.log").write_text(output, "utf-8")
    repo.commit("reproduced")
    return repo


def start_stage(name, folder, warm=True, **pipes):
    """Start a stage's script in `folder`, as DVC would, in a process of its own.

    `warm`: the processes that it starts are of tests/warm, and not below it in the system's tree.
    """
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=folder,
        env={**environment(folder, warm), "PYTHONPATH": python_path(ROOT)},
        text=True,
        **{"stdout": subprocess.PIPE, **pipes},
    )


KEPT = [4, 17, 48]  # classes of a mirror


def mirror_of(raw, folder):
    """A folder with the five files, only three classes, and their MD5 sums."""
    folder.mkdir()
    for split in ("train", "test"):
        images, labels = raws.read(raw, split)
        chosen = np.isin(labels, KEPT)
        np.savez_compressed(folder / f"k49-{split}-imgs.npz", images[chosen])
        np.savez_compressed(folder / f"k49-{split}-labels.npz", labels[chosen])
    (folder / "k49_classmap.csv").write_text(class_map(CHARACTERS), "utf-8")
    sums = [
        f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.name}\n" for file in folder.iterdir()
    ]
    (folder / "md5sums").write_text("".join(sums))
    return folder


def lacks(program, package):
    """End a test that lacks a program: skipped, or failed in CI."""
    end = pytest.fail if os.environ.get("CI") else pytest.skip
    end(f"no {program}: apt-get install {package}")


def browser():
    """The path of a browser of Chromium's kind; ends a test that lacks one."""
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return next(found, None) or lacks("browser", "chromium")


def free_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ink(width: int = 120, height: int = 120) -> np.ndarray:
    """Soft light strokes on black, heavier top left; (height, width) uint8, 0 to 255."""
    picture = Image.new("L", (width * 4, height * 4))
    draw = ImageDraw.Draw(picture)
    w, h = picture.size
    draw.line((w * 0.2, h * 0.2, w * 0.8, h * 0.25), fill=255, width=max(w, h) // 12)
    draw.line((w * 0.25, h * 0.2, w * 0.3, h * 0.8), fill=255, width=max(w, h) // 12)
    draw.line((w * 0.5, h * 0.5, w * 0.7, h * 0.7), fill=128, width=max(w, h) // 20)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


def encoded(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    """The bytes of a picture file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def saved(path: Path, picture: Image.Image, **options) -> Path:
    picture.save(path, **options)
    return path


def plain(**changes):
    """PLAIN with some of a recipe's additions."""
    return PLAIN.model_copy(update=changes)


def bars(of_class, seed):
    """A `Dataset`: images of a bar whose place is the class, in noise; so many of each class."""
    number = np.tile(np.arange(49), of_class)
    images = np.random.default_rng(seed).integers(0, 60, (len(number), 28, 28, 1), np.uint8)
    for image, place in zip(images.reshape(-1, 784), number, strict=True):
        image[place * 16 : place * 16 + 16] = 255
    return Dataset(images, one_hot(number, 49))
