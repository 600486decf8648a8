"""Every setting of the pipeline as typed, validated data: a class for each section of params.yaml.

Unknown keys, wrong types and values out of range are refused here, once, before any work starts.
What the settings mean, and why they have the values they have, stands in params.yaml.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Activation = Literal["relu", "tanh", "sigmoid", "softmax"]
Initializer = Literal["he_uniform", "glorot_uniform", "glorot_normal"]
Count = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]


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


class Range(Section):
    """Whole numbers from min to max by step."""

    min: Count
    max: Count
    step: Count

    @model_validator(mode="after")
    def _ordered(self):
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class LogRange(Section):
    """Numbers from min to max, drawn evenly on a logarithmic scale."""

    min: LearningRate
    max: LearningRate

    @model_validator(mode="after")
    def _ordered(self):
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


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
    """How every network is fitted: the trials of the search and the one that is kept."""

    batch_size: Count
    batch_normalization: bool
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    schedule: Literal["constant", "cosine"]
    warmup: Annotated[float, Field(ge=0, lt=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class Train(Section):
    """How to train the winner."""

    epochs: Count
    patience: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: LearningRate | None


class Evaluate(Section):
    """How to judge the model."""

    resamples: Annotated[int, Field(ge=100, le=1_000_000)]


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
