"""Checks settings: a line that names every fault, and a line for each setting without effect."""

import reprlib
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from k49.errors import K49Error
from k49.settings import Settings

MOST_FAULTS = 10  # that are described
MOST_KEYS = 1_000  # of a mapping
Model = TypeVar("Model", bound=BaseModel)


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
    if fault["type"] == "value_error":  # of a validator here, which says what it found
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
    """Return a line for each setting that changes nothing beside the others, and why.

    Args:
        settings: all of them.
        images: of train, if it is known how many.
    """
    augment, fit, space = settings.augment, settings.fit, settings.spaces[settings.tune.space]
    tune, found = settings.tune, []
    data = settings.data
    if data.source != "standin":
        found.append("standin has no effect: data.source is not standin")
    elif data.invert or data.transpose or data.normalize or data.image_size:
        found.append("data.invert, transpose, normalize and image_size have no effect on standin")
    if not augment.enabled:
        found.append("augment has no effect: augment.enabled is false")
    elif not augment.elastic:
        found.append("augment.elastic_grid has no effect: augment.elastic is 0")
    if fit.warmup_ratio and fit.schedule == "constant":
        found.append("fit.warmup_ratio has no effect: fit.schedule is constant")
    if images and (epochs := settings.train_epochs(images)) > settings.train.epochs:
        found.append(
            f"training lasts {epochs} epochs of {images:,} images, as train.min_steps asks; "
            "train.epochs has an effect above that only"
        )
    longest = max(settings.tune.epochs, settings.train.epochs)
    if fit.patience is not None and fit.patience >= longest and not settings.train.min_steps:
        found.append("fit.patience has no effect: neither tune.epochs nor train.epochs is above it")
    if tune.tuner == "hyperband":
        found.append("tune.trials has no effect: hyperband tries as many as tune.epochs asks for")
    if tune.workers is not None and tune.scheduler is not None:
        found.append("tune.workers has no effect: tune.scheduler has workers of its own")
    module, _, attribute = space.network.partition(":")
    if attribute and module.partition(".")[0] != "networks":
        found.append(
            f"spaces.{tune.space}.network: DVC sees changes in networks/, but not in {module}; "
            "after one, `dvc repro -f tune` searches again"
        )
    if fit.weight_decay and space.weight_decay:
        found.append(
            f"fit.weight_decay has no effect: spaces.{settings.tune.space}.weight_decay is searched"
        )
    return found
