"""params.yaml: what is read, and that every fault is refused in one line that says where."""

import copy
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import modify_yaml
from pydantic import BaseModel, ValidationError

from k49.errors import K49Error
from k49.io import flatten, read_yaml, write_yaml
from k49.settings import (
    Augment,
    Data,
    Fit,
    Hyperparameters,
    Settings,
    Space,
    Split,
    ineffective_settings,
    validate,
)
from k49.stage import load_settings
from tests.helpers import PARAMS

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


def fields(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Dotted names of every field that is no section, in the spaces of the committed file."""
    found = set()
    for name, field in model.model_fields.items():
        if name == "spaces":
            found |= {
                each for space in COMMITTED[name] for each in fields(Space, f"{name}.{space}.")
            }
            continue
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        found |= fields(field.annotation, f"{prefix}{name}.") if nested else {f"{prefix}{name}"}
    return found


# what is read


def test_committed_file_loads():
    settings = load_settings(PARAMS)
    assert settings.data.source == "standin"  # what a fresh clone runs needs no network


def test_nothing_in_the_committed_file_is_ignored():
    committed = dict(flatten(COMMITTED))
    assert committed.keys() <= fields(Settings)
    loaded = dict(flatten(load_settings(PARAMS).model_dump()))
    assert {key: loaded[key] for key in committed} == committed


def test_every_setting_stands_in_the_committed_file():
    assert fields(Settings) == dict(flatten(COMMITTED)).keys()


def test_settings_cannot_be_changed():
    settings = load_settings(PARAMS)
    with pytest.raises(ValidationError):
        settings.train.epochs = 1


@pytest.mark.parametrize("literal", ["1e-5", "1e-05", "1E-5", "1.0e-5", "0.00001", ".00001"])
def test_small_numbers(tmp_path, literal):
    path = with_literal(tmp_path, "train.learning_rate", literal)
    assert load_settings(path).train.learning_rate == 1e-5
    path = with_literal(tmp_path, "spaces.report.learning_rate.min", literal)
    assert load_settings(path).spaces["report"].learning_rate.min == 1e-5


def test_what_dvc_writes(tmp_path):
    path = written(tmp_path, PARAMS.read_bytes())
    with modify_yaml(str(path)) as content:
        content["train"]["learning_rate"] = 1e-5
        content["spaces"]["report"]["activation"] = ["relu"]
    assert "1e-05" in path.read_text("utf-8")
    settings = load_settings(path)
    assert settings.train.learning_rate == 1e-5
    assert settings.spaces["report"].activation == ["relu"]


def test_whole_number_where_a_fraction_may_stand(tmp_path):
    assert load_settings(changed(tmp_path, "standin.scale", 1)).standin.scale == 1.0


@pytest.mark.parametrize("empty", ["", "null", "~"])
def test_empty_learning_rate(tmp_path, empty):
    path = with_literal(tmp_path, "train.learning_rate", empty)
    assert load_settings(path).train.learning_rate is None


def test_hyperparameters_survive_writing_and_reading(tmp_path):
    found = {
        "network": "mlp",
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
        "train.sede",
        "data.retry",
        "tune.batch",
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


def numbers(model: type[BaseModel]) -> dict[str, dict]:
    """The JSON schema of every number that a file of this model holds."""
    schema = model.model_json_schema()
    found = {}
    for name, section in {**schema["$defs"], "": schema}.items():
        for key, field in section.get("properties", {}).items():
            for each in field.get("anyOf", [field]):
                if each.get("type") in ("integer", "number") and "enum" not in each:
                    found[f"{name}.{key}"] = each
    return found


def test_every_number_has_an_upper_limit():
    """Was: a billion books, which took all memory."""
    found = numbers(Settings)
    assert len(found) > 30
    assert not [key for key, each in found.items() if not {"maximum", "exclusiveMaximum"} & {*each}]


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("standin.train_books", 1_000_000_000, "1000"),
        ("fit.batch_size", 10**12, "65536"),
        ("spaces.default.units.max", 10**9, "4096"),
        ("tune.trials", 10**6, "10000"),
    ],
)
def test_number_beyond_sense_names_the_limit(tmp_path, key, value, limit):
    text = refusal(changed(tmp_path, key, value))
    assert text == f"{key}: should be less than or equal to {limit}, is {value}"


@pytest.mark.parametrize("address", ["host", "host:8786", "http://host:8786", "tcp://host", ""])
def test_scheduler_that_is_no_address(tmp_path, address):
    text = refusal(changed(tmp_path, "tune.scheduler", address))
    assert text.startswith("tune.scheduler: should be empty or the address of a Dask scheduler, as")
    assert text.endswith(f"is {address!r}")


OFF = {
    f"{section}.{name}"
    for section, model in (("augment", Augment), ("data", Data), ("fit", Fit), ("split", Split))
    for name, field in model.model_fields.items()
    if not field.is_required()
}


@pytest.mark.parametrize("key", sorted(set(fields(Settings)) - OFF))
def test_missing_key(tmp_path, key):
    assert refusal(changed(tmp_path, key, ABSENT)) == f"{key}: missing"


@pytest.mark.parametrize("key", sorted(OFF))
def test_option_that_came_later_is_off_where_it_is_missing(tmp_path, key):
    """So that recipes, and models of before, are still read."""
    section, name = key.split(".")
    found = getattr(load_settings(changed(tmp_path, key, ABSENT)), section)
    assert getattr(found, name) in (0, None, "adamw") or key == "split.folds"


@pytest.mark.parametrize("key", ["data", "spaces", "spaces.report.layers"])
def test_missing_section(tmp_path, key):
    assert refusal(changed(tmp_path, key, ABSENT)) == f"{key}: missing"


@pytest.mark.parametrize("key", ["train", "spaces.report", "spaces.report.layers"])
@pytest.mark.parametrize("value", [None, 3, [1, 2], "text"])
def test_section_that_is_none(tmp_path, key, value):
    assert refusal(changed(tmp_path, key, value)).startswith(f"{key}: ")


def test_every_fault_is_named(tmp_path):
    path = changed(tmp_path, "train", {"epochs": 0, "epoch": 5, "seed": "49"})
    text = refusal(path)
    for key in ("epochs", "epoch", "seed", "learning_rate"):
        assert f"train.{key}: " in text


@pytest.mark.parametrize("key", ["1", "~", "[a, b]", "true", "2.5"])
def test_key_that_is_no_text(tmp_path, key):
    refusal(written(tmp_path, PARAMS.read_text("utf-8") + f"\n? {key}\n: 1\n"))


@pytest.mark.parametrize("key", ["data", "train"])
def test_duplicate_key(tmp_path, key):
    text = refusal(written(tmp_path, PARAMS.read_text("utf-8") + f"\n{key}: 3\n"))
    assert f'duplicate key "{key}"' in text


def test_duplicate_nested_key(tmp_path):
    text = PARAMS.read_text("utf-8").replace("\ntrain:\n", "\ntrain:\n  epochs: 3\n")
    assert 'duplicate key "epochs"' in refusal(written(tmp_path, text))


def test_patience_with_a_cosine_schedule(tmp_path):
    """Was: stopped while the rate was high, so that the gain of the anneal never came."""
    said = refusal(with_literal(tmp_path, "fit.patience", "5"))
    assert said.startswith("fit: patience is 5, but a cosine schedule")
    assert "set schedule to constant" in said


# values


@pytest.mark.parametrize(
    ("key", "literal"),
    [
        # wrong types: nothing is converted
        ("train.seed", '"49"'),
        ("train.seed", "49.0"),
        ("train.seed", "true"),
        ("train.seed", "[49]"),
        ("train.seed", "{a: 1}"),
        ("train.seed", ""),
        ("data.source", "3"),
        ("data.mirrors", "http://127.0.0.1"),
        ("data.mirrors", "{a: b}"),
        ("data.timeout", '"30"'),
        ("train.epochs", "20.5"),
        ("train.epochs", "yes"),
        ("fit.batch_normalization", "yes"),
        ("fit.batch_size", "-64"),
        ("augment.rotation", "-0.1"),
        ("train.learning_rate", "'1e-5'"),
        ("train.learning_rate", "fast"),
        ("spaces.report.layers.max", "5.0"),
        ("spaces.report.activation", "relu"),
        ("spaces.report.learning_rate.min", "'0.1'"),
        # out of range
        ("train.seed", "-1"),
        ("train.seed", str(2**31)),
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
        ("fit.patience", "-64"),
        ("fit.dropout", "1"),
        ("fit.dropout", "-0.1"),
        ("train.learning_rate", "0"),
        ("evaluate.resamples", "99"),
        # no numbers
        ("split.validation_share", ".nan"),
        ("standin.scale", ".inf"),
        ("data.timeout", ".inf"),
        ("fit.dropout", ".NaN"),
        ("train.learning_rate", ".nan"),
        ("spaces.report.learning_rate.max", ".nan"),
        ("train.seed", ".nan"),
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


@pytest.mark.parametrize(("key", "least"), [("layers", 6), ("units", 513), ("learning_rate", 0.5)])
def test_min_above_max(tmp_path, key, least):
    text = refusal(changed(tmp_path, f"spaces.report.{key}.min", least))
    assert text.startswith(f"spaces.report.{key}: ")
    assert "above" in text


def test_long_value_is_shortened(tmp_path):
    assert len(refusal(changed(tmp_path, "data.timeout", "x" * 10_000))) < 200


# spaces


def test_own_space(tmp_path):
    own = {**COMMITTED["spaces"]["report"], "activation": ["tanh"]}
    assert "unknown" not in load_settings(changed(tmp_path, "spaces.mine", own)).spaces
    content = copy.deepcopy(COMMITTED)
    content["spaces"]["mine"], content["tune"]["space"] = own, "mine"
    settings = load_settings(written(tmp_path, json.dumps(content)))
    assert settings.spaces[settings.tune.space].activation == ["tanh"]


def test_fault_in_an_own_space_is_named(tmp_path):
    own = {**COMMITTED["spaces"]["report"], "layer": 3}
    text = refusal(changed(tmp_path, "spaces.mine", own))
    assert text.startswith("spaces.mine.layer: unknown key, known here: network, layers, units, ")


def test_space_that_is_not_there(tmp_path):
    text = refusal(changed(tmp_path, "tune.space", "smaller"))
    assert text == "tune.space: no space smaller, spaces has: default, cnn, resnet, report"


def test_network_that_is_not_there(tmp_path):
    said = refusal(changed(tmp_path, "spaces.cnn.network", "vit"))
    known = "cnn, hog, mlp, resnet, and package.module:name"
    assert f"spaces.cnn.network: no network 'vit'; known here: {known}" in said
    own = changed(tmp_path, "spaces.cnn.network", "networks.mine:mine")
    assert load_settings(own).spaces["cnn"].network == "networks.mine:mine"


def test_space_smaller_than_the_trials(tmp_path):
    """2 layers of one size, then 3: 1 + 1, times 2 activations."""
    own = {
        **COMMITTED["spaces"]["report"],
        "layers": {"min": 2, "max": 3, "step": 1},
        "units": {"min": 32, "max": 60, "step": 32},
        "activation": ["relu", "tanh"],
        "initializer": ["he_uniform"],
        "learning_rate": {"min": 0.01, "max": 0.01},
    }
    content = copy.deepcopy(COMMITTED)
    content["spaces"]["mine"], content["tune"]["space"] = own, "mine"
    content["tune"]["trials"] = 5
    text = refusal(written(tmp_path, json.dumps(content)))
    assert text == "tune.trials: 5 trials, but spaces.mine has only 4 combinations"
    content["tune"]["trials"] = 4
    assert load_settings(written(tmp_path, json.dumps(content))).tune.trials == 4


# settings without effect


def test_every_committed_setting_has_an_effect():
    assert ineffective_settings(load_settings(PARAMS)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.source": "k49"}, "standin has no effect: data.source is not standin"),
        (
            {"data.invert": True},
            "data.invert, transpose, normalize and image_size have no effect on standin",
        ),
        ({"augment.enabled": False}, "augment has no effect: augment.enabled is false"),
        ({"augment.elastic": 0}, "augment.elastic_grid has no effect: augment.elastic is 0"),
        (
            {"fit.schedule": "constant"},
            "fit.warmup_ratio has no effect: fit.schedule is constant",
        ),
        (
            {"tune.tuner": "hyperband"},
            "tune.trials has no effect: hyperband tries as many as tune.epochs asks for",
        ),
        (
            {"tune.trials": 1},
            "tune has no effect but for tune.space: tune.trials is 1, so nothing is searched, and "
            "the middle of spaces.default is trained",
        ),
        (
            {"spaces.default.weight_decay": {"min": 0.01, "max": 0.1}},
            "fit.weight_decay has no effect: spaces.default.weight_decay is searched",
        ),
    ],
)
def test_setting_without_effect_is_named(tmp_path, changes, said):
    ((key, value),) = changes.items()
    assert ineffective_settings(load_settings(changed(tmp_path, key, value))) == [said]


def test_epochs_that_steps_outdo_are_named():
    """Was: `-S train.epochs=30` changed nothing, and only the first line of training said so."""
    settings = load_settings(PARAMS)  # 24 epochs, 6,000 steps of 512
    (line,) = ineffective_settings(settings, 29_075)
    assert line.startswith("training lasts 106 epochs of 29,075 images, as train.min_steps asks")
    assert not ineffective_settings(settings, 193_818)


@pytest.mark.parametrize(("patience", "lines"), [(19, 0), (20, 1)])
def test_patience_is_without_effect_where_no_training_is_longer(patience, lines):
    settings = load_settings(PARAMS)
    changes = {
        "fit": {"schedule": "constant", "warmup_ratio": 0.0, "patience": patience},
        "tune": {"epochs": 5},
        "train": {"epochs": 20, "min_steps": 0},
    }
    changed = {key: getattr(settings, key).model_copy(update=new) for key, new in changes.items()}
    said = ineffective_settings(settings.model_copy(update=changed))
    assert sum(line.startswith("fit.patience has no effect") for line in said) == lines


# what `dvc exp run -S` makes of the file


def overrides():
    """Each key, and a value that `-S` may give it, of all kinds in turn; of lists each."""
    kinds = itertools.cycle(["null", "3", "1e-5", "[]", "''", "text"])
    for key, value in sorted(flatten(COMMITTED)):
        for other in ["[]", "[a]", "[a,b]"] if isinstance(value, list) else [next(kinds)]:
            yield pytest.param(key, other, id=f"{key}={other}")


@pytest.mark.slow
@pytest.mark.parametrize(("key", "value"), overrides())
def test_any_override_leaves_a_valid_file(tmp_path, key, value):
    """Was: an empty list of mirrors joined two lines, and the file was YAML no longer."""
    path = written(tmp_path, PARAMS.read_text("utf-8"))
    comments = re.findall(r"#.*", path.read_text("utf-8"))
    apply_overrides(path, [f"{key}={value}"])
    after, before = (dict(flatten(content)) for content in (read_yaml(path), COMMITTED))
    assert {**after, key: None} == {**before, key: None}
    assert re.findall(r"#.*", path.read_text("utf-8")) == comments


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
    text = refusal(with_literal(tmp_path, "train.seed", f"{tag} ['{trap}']"))
    assert "tag" in text
    assert not trap.exists()


@pytest.mark.parametrize(
    "literal", ["!!int abc", "!!int ''", "!!bool maybe", "!!float abc", "!!timestamp abc"]
)
def test_standard_tags_with_wrong_content(tmp_path, literal):
    refusal(with_literal(tmp_path, "train.seed", literal))
