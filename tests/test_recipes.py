"""Recipes: named sets of settings that `dvc exp run` takes from `k49 recipe`."""

from itertools import pairwise

import pytest
from dvc.utils.hydra import apply_overrides
from typer.testing import CliRunner

from k49.cli import app
from k49.errors import K49Error
from k49.io import read_yaml
from k49.settings import Augment, Settings, validate
from k49.stage import load_settings
from tests.helpers import PARAMS

COMMITTED = load_settings(PARAMS)
RECIPES = ("cnn", "default", "report", "resnet")
# Everything that a recipe sets, changed as far from it as it goes.
CHANGES = [
    "augment.enabled=false",
    "augment.rotation=1",
    "augment.scale=0.5",
    "augment.shear=0.5",
    "augment.shift=3",
    "augment.elastic=2",
    "augment.elastic_grid=7",
    "augment.erasing=0.5",
    "fit.optimizer=sgd",
    "fit.batch_size=32",
    "fit.batch_normalization=false",
    "fit.weight_decay=0.5",
    "fit.schedule=constant",
    "fit.warmup_ratio=0.5",
    "fit.label_smoothing=0.5",
    "tune.seed=1",
    "tune.tuner=hyperband",
    "tune.trials=2",
    "tune.epochs=1",
    "tune.threads=2",
    "tune.space=mine",
    "spaces.default.network=cnn",
    "spaces.default.layers={min:1,max:1,step:2}",
    "spaces.default.units={min:8,max:8,step:8}",
    "spaces.default.activation=[tanh,sigmoid]",
    "spaces.default.initializer=[glorot_normal]",
    "spaces.default.learning_rate={min:0.1,max:0.2}",
    "spaces.default.weight_decay={min:0.1,max:0.2}",
    "spaces.cnn.network=mlp",
    "spaces.cnn.layers={min:1,max:1,step:2}",
    "spaces.cnn.units={min:8,max:8,step:8}",
    "spaces.cnn.activation=[tanh]",
    "spaces.cnn.initializer=[glorot_normal]",
    "spaces.cnn.learning_rate={min:0.1,max:0.2}",
    "spaces.cnn.weight_decay={min:0.1,max:0.2}",
    "spaces.report={network:cnn,layers:{min:2,max:2,step:2},units:{min:8,max:8,step:8},"
    "activation:[tanh],initializer:[glorot_normal],learning_rate:{min:0.1,max:0.2},"
    "weight_decay:{min:0.1,max:0.2}}",
    "spaces.resnet={network:mlp,layers:{min:2,max:2,step:2},units:{min:8,max:8,step:8},"
    "activation:[tanh],initializer:[glorot_normal],learning_rate:{min:0.1,max:0.2},"
    "weight_decay:{min:0.1,max:0.2}}",
    "+spaces.mine={}",
    "fit.dropout=0.5",
    "fit.patience=1",
    "train.seed=1",
    "train.epochs=3",
    "train.min_steps=7",
    "train.learning_rate=1e-5",
    "evaluate.seed=1",
    "evaluate.resamples=100",
    "evaluate.shifts=2",
]


LISTED = {change.partition("=")[0] for change in CHANGES}
CHANGES += [  # augmentations that somebody adds
    f"augment.{name}=0.5"
    for name, field in Augment.model_fields.items()
    if not field.is_required() and f"augment.{name}" not in LISTED
]


def options(recipe: str) -> list[str]:
    """What `k49 recipe` prints, as the overrides that DVC makes of it."""
    lines = CliRunner().invoke(app, ["recipe", recipe]).output.splitlines()
    assert lines
    assert all(line.startswith("--set-param=") and " " not in line for line in lines)
    return [line.removeprefix("--set-param=") for line in lines]


def after(path, *overrides) -> Settings:
    """The settings after `dvc exp run -S` with each of the overrides, one experiment upon another.

    The name of an own space is all that a recipe can't know.
    """
    path.write_bytes(PARAMS.read_bytes())
    for override in overrides:
        apply_overrides(path, override if isinstance(override, list) else [override])
    content = read_yaml(path)
    content["spaces"].pop("mine", None)
    return validate(Settings, content, str(path))


@pytest.fixture
def params(tmp_path):
    return tmp_path / "params.yaml"


def what_trains(settings: Settings) -> dict:
    """All that decides a result, besides the data."""
    kept = settings.model_dump(exclude={"data", "standin", "split", "spaces"})
    return {**kept, "space": settings.spaces[settings.tune.space].model_dump()}


def test_delivered_settings_are_the_default_recipe(params):
    assert after(params, options("default")) == COMMITTED


@pytest.mark.slow
def test_each_recipe_undoes_all_changes_and_the_other_recipes(params):
    """Was: 13 of 40 settings; after `-S train.learning_rate=1e-5` all recipes trained at 1e-5."""
    alone = {name: what_trains(after(params, options(name))) for name in RECIPES}
    assert alone["default"] == what_trains(COMMITTED)
    assert all(alone[a] != alone[b] for a in alone for b in alone if a < b)
    for before, name in pairwise([*RECIPES, *reversed(RECIPES)]):
        found = after(params, CHANGES, options(before), CHANGES[1], options(name))
        assert what_trains(found) == alone[name]


def test_changes_change_everything_that_a_recipe_sets():
    """Else the tests above would say nothing of what is left out."""
    keys = [change.lstrip("+").partition("=")[0] for change in CHANGES]
    for recipe in RECIPES:
        for option in options(recipe):
            key = option.lstrip("+").partition("=")[0]
            assert any(key == each or key.startswith(f"{each}.") for each in keys), key


def test_recipes_leave_the_data_alone(params):
    data = ["data.source=k49", "standin.scale=0.5", "split.validation_share=0.3", "split.seed=3"]
    for recipe in RECIPES:
        found = after(params, data, options(recipe))
        assert (found.data.source, found.standin.scale) == ("k49", 0.5)
        assert (found.split.validation_share, found.split.seed) == (0.3, 3)


def test_what_stands_behind_a_recipe_changes_it(params):
    found = after(params, [*options("report"), "train.seed=2"])
    assert found.train.seed == 2
    assert found.tune.space == "report"


def test_report_recipe_is_the_reports(params):
    """The figures of the university's report, from its text."""
    found = after(params, options("report"))
    space = found.spaces[found.tune.space]
    assert not found.augment.enabled
    assert not found.fit.batch_normalization
    assert found.fit.batch_size == 64
    assert found.fit.schedule == "constant"
    assert found.fit.warmup_ratio == found.fit.weight_decay == found.fit.label_smoothing == 0
    assert found.tune.trials == found.tune.epochs == 10
    assert found.train.epochs == 20
    assert 0.2 <= found.fit.dropout <= 0.3
    assert found.train.learning_rate is None
    assert space.layers.model_dump() == {"min": 1, "max": 5, "step": 1}
    assert space.units.model_dump() == {"min": 32, "max": 512, "step": 32}
    assert space.activation == ["relu", "tanh", "sigmoid", "softmax"]
    assert space.initializer == ["he_uniform", "glorot_uniform", "glorot_normal"]
    assert space.learning_rate.model_dump() == {"min": 1e-4, "max": 1e-2}


def test_recipes_are_at_hand_in_any_folder(tmp_path, monkeypatch):
    """Was: of the folder that one is in, "recipes/ holds: nothing" elsewhere."""
    here = options("report")
    monkeypatch.chdir(tmp_path)
    assert options("report") == here


def test_unknown_recipe_names_the_known_ones_and_stops_dvc():
    result = CliRunner().invoke(app, ["recipe", "reprot"])
    assert isinstance(result.exception, K49Error)
    assert "cnn, default, report, resnet" in str(result.exception)
    assert result.output.startswith("--no-recipe-reprot")
