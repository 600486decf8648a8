"""params.yaml: what is read, and that every fault is refused in one line that says where."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import modify_yaml
from pydantic import BaseModel, ValidationError

from k49.errors import K49Error
from k49.files import read_yaml, write_yaml
from k49.settings import Hyperparameters, Settings, validate
from k49.stage import load_settings

PARAMS = Path(__file__).parents[1] / "params.yaml"
COMMITTED = read_yaml(PARAMS)
ABSENT = object()


def section_of(content: dict, key: str) -> tuple[dict, str]:
    *sections, name = key.split(".")
    for section in sections:
        content = content[section]
    return content, name


def changed(folder: Path, key: str, value: Any) -> Path:
    """The committed settings with one key set, added or (ABSENT) taken out; JSON is YAML too."""
    content = copy.deepcopy(COMMITTED)
    section, name = section_of(content, key)
    if value is ABSENT:
        del section[name]
    else:
        section[name] = value
    return written(folder, json.dumps(content))


def with_literal(folder: Path, key: str, literal: str) -> Path:
    """The committed settings with one value written as it stands in `literal`."""
    text = changed(folder, key, "PLACEHOLDER").read_text("utf-8")
    return written(folder, text.replace('"PLACEHOLDER"', literal))


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path) -> str:
    """The text of a refusal: one line that starts with the file's name."""
    with pytest.raises(K49Error) as caught:
        load_settings(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def leaves(content: dict, prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values, however deep."""
    found = {}
    for key, value in content.items():
        nested = isinstance(value, dict)
        found |= leaves(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def fields(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Dotted names of every field that is no section."""
    found = set()
    for name, field in model.model_fields.items():
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        found |= fields(field.annotation, f"{prefix}{name}.") if nested else {f"{prefix}{name}"}
    return found


# what is read


def test_committed_file_loads():
    settings = load_settings(PARAMS)
    assert settings.data.source == "standin"  # what a fresh clone runs needs no network
    assert settings.data.name == "stand-in (drawn, not K49)"


def test_nothing_in_the_committed_file_is_ignored():
    committed = leaves(COMMITTED)
    assert committed.keys() <= fields(Settings)
    loaded = leaves(load_settings(PARAMS).model_dump())
    assert {key: loaded[key] for key in committed} == committed


def test_every_setting_stands_in_the_committed_file():
    assert fields(Settings) == leaves(COMMITTED).keys()


def test_settings_cannot_be_changed():
    settings = load_settings(PARAMS)
    with pytest.raises(ValidationError):
        settings.train.epochs = 1


@pytest.mark.parametrize("literal", ["1e-5", "1e-05", "1E-5", "1.0e-5", "0.00001", ".00001"])
def test_small_numbers(tmp_path, literal):
    path = with_literal(tmp_path, "train.learning_rate", literal)
    assert load_settings(path).train.learning_rate == 1e-5
    path = with_literal(tmp_path, "spaces.report.learning_rate.min", literal)
    assert load_settings(path).spaces.report.learning_rate.min == 1e-5


def test_what_dvc_writes(tmp_path):
    path = written(tmp_path, PARAMS.read_bytes())
    with modify_yaml(str(path)) as content:
        content["train"]["learning_rate"] = 1e-5
        content["spaces"]["report"]["activation"] = ["relu"]
    assert "1e-05" in path.read_text("utf-8")
    settings = load_settings(path)
    assert settings.train.learning_rate == 1e-5
    assert settings.spaces.report.activation == ["relu"]


def test_whole_number_where_a_fraction_may_stand(tmp_path):
    assert load_settings(changed(tmp_path, "standin.scale", 1)).standin.scale == 1.0


@pytest.mark.parametrize("empty", ["", "null", "~"])
def test_empty_learning_rate(tmp_path, empty):
    path = with_literal(tmp_path, "train.learning_rate", empty)
    assert load_settings(path).train.learning_rate is None


def test_hyperparameters_survive_writing_and_reading(tmp_path):
    found = {
        "units": [512, 32],
        "activation": "relu",
        "initializer": "he_uniform",
        "learning_rate": 1e-5,
    }
    winner = Hyperparameters(**dict.fromkeys(Hyperparameters.model_fields) | found)
    path = tmp_path / "new" / "hyperparameters.yaml"
    write_yaml(path, winner.model_dump())
    assert validate(Hyperparameters, read_yaml(path), str(path)) == winner


# keys


@pytest.mark.parametrize(
    "key",
    [
        "sede",
        "data.retry",
        "tune.batch",
        "spaces.reports",
        "spaces.report.layer",
        "spaces.report.layers.maximum",
        "spaces.report.learning_rate.step",
        "train.momentum",
    ],
)
def test_unknown_key(tmp_path, key):
    text = refusal(changed(tmp_path, key, 1))
    start, _, allowed = text.partition(", known here: ")
    section, _ = section_of(COMMITTED, key)
    assert start == f"{key}: unknown key"
    assert sorted(allowed.split(", ")) == sorted(section)


def test_unknown_key_in_a_section_that_may_be_empty(tmp_path):
    value = {"min": 0.001, "max": 0.1, "steps": 3}
    key = "spaces.report.weight_decay"
    assert COMMITTED["spaces"]["report"]["weight_decay"] is None
    assert f"{key}.steps: unknown key" in refusal(changed(tmp_path, key, value))


@pytest.mark.parametrize("key", sorted(fields(Settings)))
def test_missing_key(tmp_path, key):
    assert refusal(changed(tmp_path, key, ABSENT)) == f"{key}: missing"


@pytest.mark.parametrize("key", ["data", "spaces", "spaces.report", "spaces.report.layers"])
def test_missing_section(tmp_path, key):
    assert refusal(changed(tmp_path, key, ABSENT)) == f"{key}: missing"


@pytest.mark.parametrize("key", ["train", "spaces.report", "spaces.report.layers"])
@pytest.mark.parametrize("value", [None, 3, [1, 2], "text"])
def test_section_that_is_none(tmp_path, key, value):
    assert refusal(changed(tmp_path, key, value)).startswith(f"{key}: ")


def test_every_fault_is_named(tmp_path):
    path = changed(tmp_path, "train", {"epochs": 0, "patiense": 5, "dropout": "0.5"})
    text = refusal(path)
    for key in ("epochs", "patience", "patiense", "dropout", "learning_rate"):
        assert f"train.{key}: " in text


@pytest.mark.parametrize("key", ["1", "~", "[a, b]", "true", "2.5"])
def test_key_that_is_no_text(tmp_path, key):
    refusal(written(tmp_path, PARAMS.read_text("utf-8") + f"\n? {key}\n: 1\n"))


@pytest.mark.parametrize("key", ["seed", "train"])
def test_duplicate_key(tmp_path, key):
    text = refusal(written(tmp_path, PARAMS.read_text("utf-8") + f"\n{key}: 3\n"))
    assert f'duplicate key "{key}"' in text


def test_duplicate_nested_key(tmp_path):
    text = PARAMS.read_text("utf-8").replace("  patience:", "  epochs: 3\n  patience:")
    assert 'duplicate key "epochs"' in refusal(written(tmp_path, text))


# values


@pytest.mark.parametrize(
    ("key", "literal"),
    [
        # wrong types: nothing is converted
        ("seed", '"49"'),
        ("seed", "49.0"),
        ("seed", "true"),
        ("seed", "[49]"),
        ("seed", "{a: 1}"),
        ("seed", ""),
        ("data.source", "3"),
        ("data.mirrors", "http://127.0.0.1"),
        ("data.mirrors", "{a: b}"),
        ("data.timeout", '"30"'),
        ("train.epochs", "20.5"),
        ("train.epochs", "yes"),
        ("fit.batch_normalization", "yes"),
        ("tune.space", "smaller"),
        ("fit.batch_size", "-64"),
        ("augment.rotation", "-0.1"),
        ("train.learning_rate", "'1e-5'"),
        ("train.learning_rate", "fast"),
        ("spaces.report.layers.max", "5.0"),
        ("spaces.report.activation", "relu"),
        ("spaces.report.learning_rate.min", "'0.1'"),
        # out of range
        ("seed", "-1"),
        ("seed", str(2**31)),
        ("data.source", '""'),
        ("data.timeout", "0"),
        ("data.retries", "-1"),
        ("data.retries", "21"),
        ("standin.scale", "0"),
        ("standin.scale", "10.1"),
        ("standin.train_books", "0"),
        ("split.validation_share", "0"),
        ("split.validation_share", "1"),
        ("tune.trials", "0"),
        ("spaces.report.layers.min", "0"),
        ("spaces.report.units.step", "0"),
        ("spaces.report.activation", "[]"),
        ("spaces.report.initializer", "[]"),
        ("spaces.report.learning_rate.max", "1.1"),
        ("spaces.report.learning_rate.min", "0"),
        ("train.epochs", "0"),
        ("train.patience", "-64"),
        ("train.dropout", "1"),
        ("train.dropout", "-0.1"),
        ("train.learning_rate", "0"),
        ("evaluate.resamples", "99"),
        # no numbers
        ("split.validation_share", ".nan"),
        ("standin.scale", ".inf"),
        ("data.timeout", ".inf"),
        ("train.dropout", ".NaN"),
        ("train.learning_rate", ".nan"),
        ("spaces.report.learning_rate.max", ".nan"),
        ("seed", ".nan"),
    ],
)
def test_wrong_value(tmp_path, key, literal):
    assert refusal(with_literal(tmp_path, key, literal)).startswith(f"{key}: ")


@pytest.mark.parametrize("literal", ["no", "off", "1:30"])
def test_text_of_yaml_1_2(tmp_path, literal):
    """What YAML 1.1 took for a truth value or a number of seconds is a folder's name here."""
    assert load_settings(with_literal(tmp_path, "data.source", literal)).data.source == literal


@pytest.mark.parametrize("key", ["activation", "initializer"])
def test_unknown_choice_names_the_known_ones(tmp_path, key):
    text = refusal(changed(tmp_path, f"spaces.report.{key}", ["gelu"]))
    assert text.startswith(f"spaces.report.{key}.0: ")
    assert "gelu" in text
    assert ("sigmoid" if key == "activation" else "glorot_normal") in text


@pytest.mark.parametrize("key", ["layers", "units", "learning_rate"])
def test_min_above_max(tmp_path, key):
    text = refusal(changed(tmp_path, f"spaces.report.{key}.min", 1 if "_" in key else 9999))
    assert text.startswith(f"spaces.report.{key}: ")
    assert "above" in text


def test_long_value_is_shortened(tmp_path):
    assert len(refusal(changed(tmp_path, "seed", "x" * 10_000))) < 200


# files


def test_missing_file(tmp_path):
    assert "No such file" in refusal(tmp_path / "params.yaml")


def test_folder(tmp_path):
    refusal(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# nothing but a comment\n",
        "just text",
        "- a\n- list\n",
        "seed: [1, 2\n",
        "seed: 1\n  data: 2\n",
        "\tseed: 1\n",
        'seed: "never closed\n',
        "seed: *unknown\n",
        "seed: 1\n---\nseed: 2\n",
        b"\xff\xfe\x00",
        b"seed: \x00",
        "seed: 2001-99-99\n",
    ],
)
def test_not_yaml_or_no_mapping(tmp_path, content):
    refusal(written(tmp_path, content))


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir", "!!python/name:os.mkdir", "!x"])
def test_tags_run_nothing(tmp_path, tag):
    trap = tmp_path / "was made"
    text = refusal(with_literal(tmp_path, "seed", f"{tag} ['{trap}']"))
    assert "tag" in text
    assert not trap.exists()


@pytest.mark.parametrize(
    "literal", ["!!int abc", "!!int ''", "!!bool maybe", "!!float abc", "!!timestamp abc"]
)
def test_standard_tags_with_wrong_content(tmp_path, literal):
    refusal(with_literal(tmp_path, "seed", literal))
