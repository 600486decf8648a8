"""Every setting of the pipeline as typed, validated data: a class for each section of params.yaml.

Unknown keys, wrong types and values out of range are refused here, once, before any work starts, in
one line that names every fault. params.yaml explains the settings.
"""

import math
import re
import reprlib
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from k49.errors import K49Error
from k49.io import MOST_CLASSES, read_yaml

Activation = Literal["relu", "tanh", "sigmoid", "softmax"]
Initializer = Literal["he_uniform", "glorot_uniform", "glorot_normal"]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
MAX_EPOCHS = 10_000
Epochs = Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
Layers = Annotated[int, Field(ge=1, le=20)]
MAX_UNITS = 4096  # 20 layers of them with their optimizer: 4 GB
Units = Annotated[int, Field(ge=1, le=MAX_UNITS)]
Books = Annotated[int, Field(ge=1, le=1000)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Number = TypeVar("Number", int, float)
Shifts = Annotated[int, Field(ge=0, le=3)]
Normalize = Literal["ink", "scale"]
SIDES = range(8, 65)  # of an image, in pixels
Side = Annotated[int, Field(ge=SIDES[0], le=SIDES[-1])]
ImageSize = Annotated[list[Side], Field(min_length=2, max_length=2)]  # height, width


NETWORKS = ("cnn", "hog", "mlp", "resnet")  # of `training.networks`
RECIPES = Path(__file__).parent / "recipes"
MOST_FAULTS = 10  # that are described
MOST_KEYS = 1_000  # of a mapping


def check_network(name: str) -> str:
    """Raise ValueError unless it may be the name of a network; return it.

    One from elsewhere, as package.module:name, is looked for only where networks are built: that
    takes Keras, and seconds.
    """
    if name not in NETWORKS and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise ValueError(
            f"no network {name!r:.80}; known here: {', '.join(NETWORKS)}, and package.module:name"
        )
    return name


Network = Annotated[str, AfterValidator(check_network)]


def check_line(text: str) -> str:
    """Raise ValueError unless text is one printable line, of 500 characters at most; return it."""
    if not text.isprintable() or len(text) > 500:
        raise ValueError(f"{text!r:.80} should be one printable line of 500 characters at most")
    return text


Line = Annotated[str, AfterValidator(check_line)]


def check_class_name(name: str) -> str:
    """Raise ValueError unless it can stand in a table, in a picture and in a file; return it.

    In Unicode's form NFC: macOS gives names in NFD, which look the same.
    """
    name = unicodedata.normalize("NFC", name)
    if not name.isprintable() or name != name.strip() or not 1 <= len(name) <= 64:
        raise ValueError(f"{name!r:.80} is no name of a class: 1 to 64 printable characters")
    return name


def check_distinct(names: list[str]) -> list[str]:
    """Raise ValueError if a name stands twice; return them."""
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{twice[0]!r} names two classes")
    return names


Classes = Annotated[  # their names, in the order of the labels
    list[Annotated[str, AfterValidator(check_class_name)]],
    Field(max_length=MOST_CLASSES),
    AfterValidator(check_distinct),
]


def check_place(place: str) -> str:
    """Raise ValueError if an address has a user or a password, or a path a NUL; return it."""
    if "\0" in place:
        raise ValueError("holds a NUL, which no path has")
    if re.match(r"\w+://[^?#]*@", place):
        raise ValueError(
            "an address with a user or a password, which would get into git and dvc.lock; put them "
            "into ~/.netrc, and leave out all up to the @"
        )
    return place


Source = Annotated[str, Field(min_length=1), AfterValidator(check_place)]


def check_label_file(path: str) -> str:
    """Raise ValueError unless it is the path of a CSV file in labels/; return it."""
    if not re.fullmatch(r"labels/[^/\\\0]+\.csv", path) or not path.isprintable():
        raise ValueError(
            "should be a CSV file in labels/, where DVC sees its changes, as labels/exclude.csv; "
            f"is {path!r:.80}"
        )
    return path


LabelPath = Annotated[str, AfterValidator(check_label_file)]


class Section(BaseModel):
    """Locked against unknown keys, changes and conversions (`"3"` is not 3, 2.0 is not 2)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Cleaning(Section):
    """Images that are left out, and labels that are corrected."""

    exclude: LabelPath | None = None
    relabel: LabelPath | None = None
    clean_test: Literal["not_comparable"] | None = None  # test, too; None: train alone


class Data(Cleaning):
    source: Source
    invert: bool
    transpose: bool
    normalize: Normalize | None  # None: pictures of class folders are scaled, those to predict cut
    image_size: ImageSize | None  # of pictures in class folders; None: their own
    test_share: Annotated[float, Field(gt=0, lt=1)]  # where there is no test
    seed: Seed  # of that
    mirrors: list[Source]
    timeout: Annotated[float, Field(gt=0, le=3600)]
    retries: Annotated[int, Field(ge=0, le=20)]


class DatasetInfo(Section):
    """A dataset without its images: in `data/`, and in a model file."""

    name: Line  # in figures, tables and metrics
    classes: Classes
    image_size: ImageSize
    normalize: Normalize  # how pictures become images, in the dataset and for its models
    # where they were cut to their ink, the share of the longer side that it takes up
    ink_extent: Annotated[float, Field(gt=0, le=1)] = 1.0
    invert: bool  # of pictures that are only scaled: ink is darker than paper
    white: Annotated[int, Field(ge=1, le=255)] = 255  # pixel value in arrays that became 255
    language: Line | None
    licence: Line | None
    warning: Line | None


class Standin(Section):
    classes: Literal[10, 49]
    seed: Seed
    scale: Annotated[float, Field(gt=0, le=10)]
    train_books: Books
    test_books: Books


class Split(Section):
    seed: Seed
    validation_share: Annotated[float, Field(gt=0, lt=1)]
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    fold: Annotated[int, Field(ge=0, le=99)] | None = (
        None  # which one is validation; None: the share is
    )

    @model_validator(mode="after")
    def _fold_is_there(self) -> Self:
        if self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold}, but folds are 0 to {self.folds - 1}")
        return self


class Bounds(Section, Generic[Number]):
    min: Number
    max: Number

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class Range(Bounds[Number], Generic[Number]):
    """Whole numbers from min to max by step."""

    step: Number

    @property
    def values(self) -> range:
        return range(int(self.min), int(self.max) + 1, int(self.step))


class LogRange(Bounds[LearningRate]):
    """Numbers from min to max, drawn evenly on a logarithmic scale."""


class Space(Section):
    network: Network
    layers: Range[Layers]
    units: Range[Units]
    activation: Annotated[list[Activation], Field(min_length=1)]
    initializer: Annotated[list[Initializer], Field(min_length=1)]
    learning_rate: LogRange
    weight_decay: LogRange | None

    def combinations(self, searched_widths: Callable[[int], int] = lambda depth: depth) -> float:
        """Count the points of the space; infinity where a number is drawn from a range.

        Args:
            searched_widths: how many widths of so many layers are searched; all, unless a network
                says otherwise.
        """
        if any(
            bounds and bounds.min < bounds.max for bounds in (self.learning_rate, self.weight_decay)
        ):
            return math.inf
        widths = len(self.units.values)
        layers = sum(widths ** searched_widths(depth) for depth in self.layers.values)
        return layers * len(set(self.activation)) * len(set(self.initializer))


def check_address(scheduler: str) -> str:
    """Raise ValueError unless it is the address of a Dask scheduler; return it."""
    if not re.fullmatch(r"(tcp|tls)://[^\s/]+:\d{1,5}", scheduler):
        raise ValueError(
            "should be empty or the address of a Dask scheduler, as tcp://host:8786 or "
            f"tls://host:8786, is {scheduler!r}"
        )
    return scheduler


class Tune(Section):
    seed: Seed
    tuner: Literal["random", "hyperband", "bayesian"]
    trials: Annotated[int, Field(ge=1, le=10_000)]
    epochs: Epochs
    threads: Annotated[int, Field(ge=1, le=1024)]
    space: str
    workers: Annotated[int, Field(ge=1, le=1024)] | None  # None: as many as have processors
    scheduler: Annotated[str, AfterValidator(check_address)] | None  # None: here

    @property
    def searches(self) -> bool:
        """Return whether any trial is trained: of a single one nothing can be learned."""
        return self.trials > 1 or self.tuner == "hyperband"


class Hyperparameters(Section):
    """The winner of the search, which training reads: `models/hyperparameters.yaml`."""

    network: Network
    units: Annotated[list[Units], Field(min_length=1, max_length=20)]
    activation: Activation
    initializer: Initializer
    learning_rate: LearningRate
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None


class Augment(Section):
    """How far train images are moved, turned, stretched and bent, each epoch anew.

    Options that are off have a default here: recipes lack them.
    """

    enabled: bool
    rotation: Annotated[float, Field(ge=0, le=3.2)]
    scale: Annotated[float, Field(ge=0, lt=1)]
    shear: Annotated[float, Field(ge=0, lt=1)]
    shift: Annotated[float, Field(ge=0, le=14)]
    elastic: Annotated[float, Field(ge=0, le=14)]
    elastic_grid: Annotated[int, Field(ge=4, le=12)]
    erasing: Annotated[float, Field(ge=0, le=1)] = 0.0


class Fit(Section):
    """How every model is fitted: the trials of the search and the one that is kept.

    Defaults as in `Augment`.
    """

    batch_size: Annotated[int, Field(ge=1, le=65_536)]
    batch_normalization: bool
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    schedule: Literal["constant", "cosine"]
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    patience: Epochs | None  # None: no early stopping
    optimizer: Literal["adamw", "sgd"] = "adamw"

    @model_validator(mode="after")
    def _a_cosine_runs_to_its_end(self) -> Self:
        if self.schedule == "cosine" and self.patience is not None:
            raise ValueError(
                f"patience is {self.patience}, but a cosine schedule has to run to its end, where "
                "most is gained: leave patience empty, or set schedule to constant"
            )
        return self


class Train(Section):
    seed: Seed
    epochs: Epochs
    min_steps: Annotated[int, Field(ge=0, le=10_000_000)]
    learning_rate: LearningRate | None


class Evaluate(Section):
    seed: Seed
    resamples: Annotated[int, Field(ge=100, le=1_000_000)]
    shifts: Shifts


class Gate(Section):
    """Limits of `k49 report --gate`; None is no limit."""

    overfitting_gap: Annotated[float, Field(ge=-1, le=1)] | None
    fall: Annotated[float, Field(ge=0, le=1)] | None


class TrainingConfig(Section):
    """All that determines how a model is trained, besides its data."""

    hyperparameters: Hyperparameters
    fit: Fit
    augment: Augment
    epochs: Epochs
    seed: Seed


class Calibration(Section):
    """The calibration of a model, and the thresholds below which a reading is doubtful."""

    inverse_temperature: Positive  # of the logits; the network has a layer for it
    exponent: Positive  # of the mean over shifts, after which rows are made to sum to 1 again
    certain: Probability  # below it, a prediction is uncertain
    averaged_certain: Probability  # the same of the mean over shifts
    outlier: float  # score of an image above which it is unlike all that was trained on


class Detector(Section):
    """A logistic regression that detects outliers; see `calibration.detector`."""

    weights: list[float]  # of an image's features, float32
    bias: float


class Provenance(Section):
    """The data and settings that a model was trained with, and its calibration."""

    dataset: DatasetInfo  # that it was trained on
    training: TrainingConfig
    shifts: Shifts  # that predictions are averaged over, as `evaluate.shifts`
    calibration: Calibration


class SearchConfig(Section):
    tune: Tune
    space: Space
    fit: Fit
    augment: Augment


class Settings(Section):
    data: Data
    standin: Standin
    split: Split
    augment: Augment
    fit: Fit
    tune: Tune
    spaces: Annotated[dict[str, Space], Field(min_length=1)]
    train: Train
    evaluate: Evaluate
    gate: Gate

    def train_epochs(self, images: int) -> int:
        """Return for how many epochs the winner is trained on so many images.

        The longer of `train.epochs` and as many as `train.min_steps` need.
        """
        batch = min(self.fit.batch_size, images)
        enough = -(-self.train.min_steps * batch // images)  # rounded up
        return max(self.train.epochs, min(enough, MAX_EPOCHS))

    @model_validator(mode="after")
    def _space_is_there_and_large_enough(self) -> Self:
        name, known = self.tune.space, ", ".join(self.spaces)
        if name not in self.spaces:
            raise ValueError(f"tune.space: no space {name}, spaces has: {known}")
        if (size := self.spaces[name].combinations()) < self.tune.trials:
            raise ValueError(
                f"tune.trials: {self.tune.trials} trials, but spaces.{name} has only {size} "
                "combinations"
            )
        return self


Model = TypeVar("Model", bound=BaseModel)


def read_recipe(name: str) -> dict[str, Any]:
    """Return the settings of a recipe: `default` with the changes of its own file."""
    content = read_yaml(RECIPES / "default.yaml")
    for section, changes in read_yaml(RECIPES / f"{name}.yaml").items():
        content[section] = changes if section == "spaces" else content[section] | changes
    for section, model in (("augment", Augment), ("fit", Fit)):  # options that are off
        content[section] = model.model_validate(content[section]).model_dump()
    return content


def validate(model: type[Model], content: Any, where: str) -> Model:
    """Validate `content` as `model`.

    Raises:
        K49Error: it doesn't fit; names `where` and every fault in one line.
    """
    if isinstance(content, dict) and len(content) > MOST_KEYS:  # each would be a fault in memory
        raise K49Error(f"{where}: {len(content):,} keys, {MOST_KEYS:,} at most")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = error.errors()
        described = [describe(model, dict(fault)) for fault in faults[:MOST_FAULTS]]
        if len(faults) > MOST_FAULTS:
            described.append(f"and {len(faults) - MOST_FAULTS:,} faults more")
        raise K49Error(f"{where}: {'; '.join(described)}") from error


def describe(model: type[BaseModel], fault: dict) -> str:
    """Describe a fault as `train.epochs: should be greater than or equal to 1, is 0`."""
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key, known here: {', '.join(known_keys(model, fault['loc']))}"
    if fault["type"] == "missing":
        return f"{key}: missing"
    message = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if fault["type"] == "value_error":  # of a validator here, whose message is complete
        return f"{key}: {message}" if key else message
    empty = " (null leaves it empty)" if fault["input"] == "" else ""
    return f"{key or 'top level'}: {message}, is {reprlib.repr(fault['input']):.80}{empty}"


def known_keys(model: type[BaseModel], loc: tuple) -> list[str]:
    """Return the keys that are allowed where `loc` points."""
    for key in loc[:-1]:
        if key not in model.model_fields:
            continue  # the name of a space
        kind = model.model_fields[key].annotation
        model = next(
            candidate for candidate in (*get_args(kind), kind) if hasattr(candidate, "model_fields")
        )
    return list(model.model_fields)


def ineffective_settings(settings: Settings, images: int | None = None) -> list[str]:
    """Return a line for each setting without effect next to the others, and why.

    Args:
        settings: all of them.
        images: of train, if it is known how many.
    """
    augment, fit, space = settings.augment, settings.fit, settings.spaces[settings.tune.space]
    tune, lines = settings.tune, []
    data = settings.data
    if data.source != "standin":
        lines.append("standin has no effect: data.source is not standin")
    elif data.invert or data.transpose or data.normalize or data.image_size:
        lines.append("data.invert, transpose, normalize and image_size have no effect on standin")
    if data.clean_test and not data.exclude and not data.relabel:
        lines.append("data.clean_test has no effect: neither data.exclude nor data.relabel is set")
    if settings.split.fold is not None:
        lines.append("split.validation_share has no effect: split.fold says what is validation")
    if not augment.enabled:
        lines.append("augment has no effect: augment.enabled is false")
    elif not augment.elastic:
        lines.append("augment.elastic_grid has no effect: augment.elastic is 0")
    if fit.warmup_ratio and fit.schedule == "constant":
        lines.append("fit.warmup_ratio has no effect: fit.schedule is constant")
    if images and (epochs := settings.train_epochs(images)) > settings.train.epochs:
        lines.append(
            f"training lasts {epochs} epochs of {images:,} images, as train.min_steps asks; "
            "train.epochs has an effect above that only"
        )
    longest = max(settings.tune.epochs, settings.train.epochs)
    if fit.patience is not None and fit.patience >= longest and not settings.train.min_steps:
        lines.append("fit.patience has no effect: neither tune.epochs nor train.epochs is above it")
    if tune.tuner == "hyperband":
        lines.append("tune.trials has no effect: hyperband tries as many as tune.epochs asks for")
    if not tune.searches:
        lines.append(
            "tune has no effect but for tune.space: tune.trials is 1, so nothing is searched, and "
            f"the middle of spaces.{tune.space} is trained"
        )
    if tune.workers is not None and tune.scheduler is not None:
        lines.append("tune.workers has no effect: tune.scheduler has workers of its own")
    module, _, attribute = space.network.partition(":")
    if attribute and module.partition(".")[0] != "networks":
        lines.append(
            f"spaces.{tune.space}.network: DVC sees changes in networks/, but not in {module}; "
            "after one, `dvc repro -f tune` searches again"
        )
    if fit.weight_decay and space.weight_decay:
        lines.append(
            f"fit.weight_decay has no effect: spaces.{settings.tune.space}.weight_decay is searched"
        )
    return lines
