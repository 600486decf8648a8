"""Recipes: named sets of settings that `dvc exp run` takes from `k49 recipe`."""

import pytest
from typer.testing import CliRunner

from k49.cli import app
from k49.errors import K49Error
from k49.files import read_yaml
from k49.settings import Settings, validate
from tests.helpers import ROOT

PARAMS = ROOT / "params.yaml"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def lookup(params: dict, key: str):
    for part in key.split("."):
        params = params[part]
    return params


@pytest.fixture(autouse=True)
def at_the_top(monkeypatch):
    """`k49 recipe` reads recipes/ of the folder that it is run in."""
    monkeypatch.chdir(ROOT)


def test_there_are_recipes():
    assert [path.stem for path in RECIPES] == ["default", "report"]


def test_params_hold_the_default_recipe():
    params = read_yaml(PARAMS)
    recipe = read_yaml(ROOT / "recipes/default.yaml")
    assert {key: lookup(params, key) for key in recipe} == recipe


def test_recipes_set_the_same_keys():  # so that each undoes the other
    assert len({tuple(read_yaml(path)) for path in RECIPES}) == 1


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_gives_valid_settings(path):
    params = read_yaml(PARAMS)
    for key, value in read_yaml(path).items():
        section, _, name = key.rpartition(".")
        lookup(params, key)  # the key is there already: a recipe adds none
        lookup(params, section)[name] = value
    validate(Settings, params, str(path))


def test_report_recipe_is_the_reports():
    report = read_yaml(ROOT / "recipes/report.yaml")
    space = lookup(read_yaml(PARAMS), "spaces.report")
    assert not report["augment.enabled"]
    assert not report["fit.batch_normalization"]
    assert report["fit.batch_size"] == 64
    assert report["tune.trials"] == report["tune.epochs"] == 10
    assert report["train.epochs"] == 20
    assert 0.2 <= report["train.dropout"] <= 0.3
    assert space["layers"] == {"min": 1, "max": 5, "step": 1}
    assert space["units"] == {"min": 32, "max": 512, "step": 32}
    assert space["activation"] == ["relu", "tanh", "sigmoid", "softmax"]
    assert space["initializer"] == ["he_uniform", "glorot_uniform", "glorot_normal"]
    assert space["learning_rate"] == {"min": 1e-4, "max": 1e-2}


def test_command_prints_options_for_dvc():
    lines = CliRunner().invoke(app, ["recipe", "report"]).output.splitlines()
    assert "--set-param=train.epochs=20" in lines
    assert "--set-param=augment.enabled=false" in lines
    assert all(line.startswith("--set-param=") for line in lines)


def test_unknown_recipe_names_the_known_ones():
    error = CliRunner().invoke(app, ["recipe", "reprot"]).exception
    assert isinstance(error, K49Error)
    assert "default, report" in str(error)
