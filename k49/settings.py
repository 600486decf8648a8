"""Every setting of the pipeline as typed, validated data: a class for each section of params.yaml.

Unknown keys, wrong types and values out of range are refused here, once, before any work starts.
What the settings mean, and why they have the values they have, stands in params.yaml.
"""

from typing import Annotated, Any, Generic, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from k49.errors import K49Error

Activation = Literal["relu", "tanh", "sigmoid", "softmax"]
Initializer = Literal["he_uniform", "glorot_uniform", "glorot_normal"]
Count = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Number = TypeVar("Number", int, float)
Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """Locked against unknown keys, changes and conversions (`"3"` is not 3, 2.0 is not 2)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Data(Section):
    """Where the images come from."""

    source: Annotated[str, Field(min_length=1)]
    mirrors: list[str]
    timeout: Annotated[float, Field(gt=0)]
    retries: Annotated[int, Field(ge=0, le=20)]

    @property
    def name(self) -> str:
        """What figures on this source are called wherever they appear."""
        names = {"standin": "stand-in (drawn, not K49)", "k49": "Kuzushiji-49"}
        return names.get(self.source, f"mirror {self.source}")


class Standin(Section):
    """How much of the stand-in to draw."""

    scale: Annotated[float, Field(gt=0, le=10)]
    train_books: Count
    test_books: Count


class Split(Section):
    """How to split validation off train."""

    validation_share: Annotated[float, Field(gt=0, lt=1)]


class Bounds(Section, Generic[Number]):
    """From min to max, both included."""

    min: Number
    max: Number

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class Range(Bounds[Count]):
    """Whole numbers from min to max by step."""

    step: Count


class LogRange(Bounds[LearningRate]):
    """Numbers from min to max, drawn evenly on a logarithmic scale."""


class Space(Section):
    """What the search chooses from."""

    layers: Range
    units: Range
    activation: Annotated[list[Activation], Field(min_length=1)]
    initializer: Annotated[list[Initializer], Field(min_length=1)]
    learning_rate: LogRange
    weight_decay: LogRange | None


class Spaces(Section):
    """The spaces that `tune.space` names."""

    default: Space
    report: Space


class Tune(Section):
    """How to search."""

    trials: Count
    epochs: Count
    space: Literal["default", "report"]


class Hyperparameters(Section):
    """What the search finds and training reads: `models/hyperparameters.yaml`."""

    units: Annotated[list[Count], Field(min_length=1)]
    activation: Activation
    initializer: Initializer
    learning_rate: LearningRate
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None


class Augment(Section):
    """How far train images are moved, turned, stretched and bent, each epoch anew."""

    enabled: bool
    rotation: Annotated[float, Field(ge=0, le=3.2)]
    scale: Annotated[float, Field(ge=0, lt=1)]
    shear: Annotated[float, Field(ge=0, lt=1)]
    shift: Annotated[float, Field(ge=0, le=14)]
    elastic: Annotated[float, Field(ge=0, le=14)]
    elastic_grid: Annotated[int, Field(ge=4, le=12)]


class Fit(Section):
    """How every model is fitted: the trials of the search and the one that is kept."""

    batch_size: Count
    batch_normalization: bool
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    schedule: Literal["constant", "cosine"]
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class Train(Section):
    """How to train the winner."""

    epochs: Count
    patience: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: LearningRate | None


class Evaluate(Section):
    """How to evaluate the model."""

    resamples: Annotated[int, Field(ge=100, le=1_000_000)]


class TrainingConfig(Section):
    """All that determines how a model is trained, beside its data."""

    hyperparameters: Hyperparameters
    fit: Fit
    augment: Augment
    epochs: Count
    patience: Count | None  # None: no early stopping
    dropout: float
    seed: int


class SearchConfig(Section):
    """All that determines a search, beside its data."""

    tune: Tune
    space: Space
    fit: Fit
    augment: Augment
    seed: int


class Settings(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    data: Data
    standin: Standin
    split: Split
    augment: Augment
    fit: Fit
    spaces: Spaces
    tune: Tune
    train: Train
    evaluate: Evaluate


def validate(model: type[Model], content: Any, where: str) -> Model:
    """`content` as `model`.

    Raises:
        K49Error: it doesn't fit; names `where` and every fault in one line.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(describe(model, dict(fault)) for fault in error.errors())
        raise K49Error(f"{where}: {faults}") from error


def describe(model: type[BaseModel], fault: dict) -> str:
    """One fault as `train.epochs: should be greater than or equal to 1, is 0`."""
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key, known here: {', '.join(siblings(model, fault['loc']))}"
    if fault["type"] == "missing":
        return f"{key}: missing"
    message = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{key or 'top level'}: {message}, is {fault['input']!r:.80}"


def siblings(model: type[BaseModel], loc: tuple) -> list[str]:
    """The keys allowed where `loc` points."""
    for key in loc[:-1]:
        kind = model.model_fields[key].annotation
        model = next(each for each in (*get_args(kind), kind) if hasattr(each, "model_fields"))
    return list(model.model_fields)
