"""Files, names and settings of somebody who means harm: an answer or one line, and soon."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import psutil
import pygit2
import pytest
from dvc.repo import Repo as DvcRepo
from markdown_it import MarkdownIt
from PIL import Image

from k49.comparison import text
from k49.comparison.compare import compare
from k49.data.fetch import fetch
from k49.errors import K49Error
from k49.evaluation.card import model_card
from k49.inference import predict as inference
from k49.inference.models import open_model
from k49.io import atomic_write, parse_json, parse_yaml, read_bytes, read_json, read_npy
from k49.revisions import revisions
from k49.search.results import read_results
from k49.stage import load_settings
from k49.text import in_cell, in_markdown, printable
from k49.training.model import build_model, load_model
from tests import forms
from tests.helpers import (
    DATA,
    PARAMS,
    ROOT,
    SHAPE,
    SMALL_MODEL,
    STANDIN,
    environment,
    ink,
    plain,
    provenance_of,
    save_as,
    saved,
)
from tests.torture.fuzz import RUN, commit

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b",
    "a\\|b `x` <b>",
    "@you",
    "[a](https://evil.invalid)",
    "![a](https://evil.invalid/a.png)",
    "https://evil.invalid",
    "www.evil.invalid",
    "`",
    "``` `",
    "a\nb\n\n# c",
    "\x1b[31mred\u202e",
    "**bold** _it_ ~~no~~ #1",
    "* a *b* (*c*) *",
    "&lt;b&gt; <!-- ",
    "a" * 5000,
]


def refusal(call, *arguments):
    """The one line that a call refuses with."""
    with pytest.raises(K49Error) as caught:
        call(*arguments)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) <= 2000
    return line


# --- how text is shown ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_in_one_line_without_control_characters(name):
    assert printable(name).isprintable()
    assert len(printable(name)) <= 2000


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_nothing_but_text_in_markdown(name):
    html = MarkdownIt("commonmark").render(f"# {in_markdown(name)} beside\n\n{in_markdown(name)}\n")
    assert set(re.findall(r"<(\w+)", html)) <= {"h1", "p", "code"}
    assert html.count("<p>") == html.count("<h1>") == 1
    outside = re.sub("<code>.*?</code>", "", html)
    assert "@you" not in outside
    assert "evil" not in outside
    assert "#1" not in outside


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_in_their_cell(name):
    row = f"| a | {in_cell(name)} | c |"
    html = MarkdownIt("commonmark").enable("table").render(f"| x | y | z |\n|-|-|-|\n{row}\n")
    cells = re.findall("<td>(.*?)</td>", html)
    assert (len(cells), cells[0], cells[2]) == (3, "a", "c")
    assert set(re.findall(r"<(\w+)", cells[1])) <= {"code"}


# --- JSON and YAML -------------------------------------------------------------------------------


def bomb(levels=8):
    """9^8 values in 700 bytes."""
    lines = [
        "a0: &a0 [1]",
        *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)),
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (bomb(), "an alias of line 1; write the value out"),
        ("a: &a {x: 1}\nb:\n  <<: *a", "line 3"),
        ("a: &a [*a]", "an alias of line 1"),
        ("a: !!python/object/apply:os.system [ls]", "tag tag:yaml.org,2002:python/object/apply"),
        ("a: 2001-01-01", "timestamp, line 1; put text in quotes"),
        ("1: a", "a key that is no text"),
        ("a: " + "9" * 5000, "a number of 5,000 digits"),
        ("[" * 5_000, "not valid YAML"),
        ("a" * (1 << 20), "1,048,576 bytes, 524,288 at most"),
        ("\x00", "not valid YAML"),
    ],
)
def test_yaml_is_bounded(content, says):
    assert says in refusal(parse_yaml, content.encode(), "x.yaml")


@pytest.mark.parametrize(
    "content", ["NaN", "[1e999]", "[-Infinity]", "[" * 100_000, "{", "\ufeff{}"]
)
def test_json_is_bounded(content):
    assert "x.json: not valid JSON" in refusal(parse_json, content.encode(), "x.json")


def test_files_without_an_end_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        assert refusal(read_bytes, path, 10) == f"{path}: not a file"
    (tmp_path / "large").write_bytes(bytes(11))
    assert "11 bytes, 10 at most" in refusal(read_bytes, tmp_path / "large", 10)


def test_files_between_stages_that_lack_something_are_named(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    assert "a.json: lacks dataset; `dvc repro`" in refusal(
        read_json, tmp_path / "a.json", "dataset"
    )
    np.save(tmp_path / "a.npy", np.zeros(9999))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:500])
    assert "a.npy: damaged (" in refusal(read_npy, tmp_path / "a.npy")
    assert "not there; `dvc repro`" in refusal(read_npy, tmp_path / "b.npy")


# --- settings ------------------------------------------------------------------------------------


def params_with(tmp_path, line, instead):
    path = tmp_path / "params.yaml"
    content = PARAMS.read_text("utf-8")
    assert line in content
    path.write_text(content.replace(line, instead), "utf-8")
    return path


def test_anchor_bomb_in_a_setting(tmp_path):
    path = params_with(tmp_path, "data:\n", bomb() + "\ndata:\n")
    assert "an alias of line" in refusal(load_settings, path)


def test_large_value_of_a_wrong_type_is_cut(tmp_path):
    path = params_with(tmp_path, "timeout: 30 ", f"timeout: {['x' * 50] * 900} ")
    assert "data.timeout: should be a valid number" in refusal(load_settings, path)


def test_source_with_a_nul(tmp_path):
    path = params_with(tmp_path, "source: standin ", 'source: "a\\0b" ')
    assert "data.source: holds a NUL" in refusal(load_settings, path)


@pytest.mark.parametrize("key", ["source: ", "mirrors: [", "mirrors: [x, "])
def test_password_never_gets_into_git(tmp_path, key):
    end = "]" if "[" in key else ""
    line = "source: standin " if key == "source: " else "mirrors: []"
    path = params_with(tmp_path, line, f"{key}'https://me:s3cret@host.invalid/a'{end} ")
    said = refusal(load_settings, path)
    assert "an address with a user or a password" in said
    assert "netrc" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("name", ["<script>", "a\nb", "a\x1b[31m", "x" * 200, "`@you`"])
def test_folder_with_a_strange_name_is_read(tmp_path, name):
    folder = tmp_path / name
    forms.npz(folder, forms.made())
    data = DATA.model_copy(update={"source": str(folder)})
    fetch(data, STANDIN, *(tmp_path / each for each in ("raw", "downloads", "own")))
    called = json.loads((tmp_path / "raw/dataset.json").read_text("utf-8"))["name"]
    assert called.isprintable()
    assert len(called) < 140


def test_home_of_nobody():
    data = DATA.model_copy(update={"source": "~no_such_user/data"})
    assert "~no_such_user/data: " in refusal(fetch, data, STANDIN, *[Path("x")] * 3)


# --- models --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A good model."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    save_as(path, build_model(SMALL_MODEL, plain(), *SHAPE), provenance_of("bars", shifts=1))
    return path


def changed(model, tmp_path, name, change):
    """A copy of a model with a part changed."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(model) as source:
        parts = {each: source.read(each) for each in source.namelist()}
    parts[name] = change(parts[name])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for each, content in parts.items():
            target.writestr(each, content)
    return path


def set_in(*keys):
    """A function that sets a value of JSON."""
    *outer, last, value = keys

    def change(content):
        whole = json.loads(content)
        at = whole
        for key in outer:
            at = at[key]
        at[last] = value
        return json.dumps(whole).encode()

    return change


def dataset_of(path):
    return open_model(path).dataset


def read(path):
    """What `k49 predict` does with a model."""
    return inference.predict(open_model(path), np.zeros((1, 28, 28, 1), np.uint8), 5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_in("shifts", 1_000_000), "k49.json: shifts: should be less than or equal to 3"),
        (set_in("shifts", 40), "k49.json: shifts: should be less than or equal to 3"),
        (set_in("shifts", -1), "k49.json: shifts: should be greater than or equal to 0"),
        (set_in("dataset", "name", "a\x1b[2J\nb"), "dataset.name: 'a\\x1b[2J\\nb' should be one"),
        (set_in("dataset", "a\x1b[2J"), "k49.json: dataset: should be a valid dictionary"),
        (set_in("dataset", "image_size", [10**9, 8]), "dataset.image_size.0"),
        (lambda content: b"[]", "k49.json"),
        (lambda content: content + b" " * (2 << 20), "k49.json has 2,0"),
    ],
)
def test_what_a_model_says_of_itself_is_checked(model, tmp_path, change, says):
    assert says in refusal(dataset_of, changed(model, tmp_path, "k49.json", change))


def widest(content):
    config = json.loads(content)
    (logits,) = (layer for layer in config["config"]["layers"] if layer["name"] == "logits")
    logits["config"]["units"] = 10**9
    return json.dumps(config).encode()


def test_network_that_its_weights_don_t_fill_is_not_built(model, tmp_path):
    path = changed(model, tmp_path, "config.json", widest)
    before = psutil.Process().memory_info().rss
    assert "weights would take" in refusal(load_model, path)
    assert psutil.Process().memory_info().rss - before < 200 << 20


def test_network_that_can_be_built_and_not_run(model, tmp_path):
    """Its layer has a name that TensorFlow refuses, but only when it runs."""
    renamed = partial(re.sub, rb'"scale"(?!:)', b'"`"')
    path = changed(model, tmp_path, "config.json", renamed)
    assert "model.keras: can't be run: " in refusal(read, path)


@pytest.mark.parametrize(("key", "value"), [("image_size", [9, 9]), ("classes", ["a", "b"])])
def test_model_that_says_other_things_than_it_does(model, tmp_path, key, value):
    path = changed(model, tmp_path, "k49.json", set_in("dataset", key, value))
    said = refusal(read, path)
    assert "takes images of 28 x 28 and returns 49 classes, but is said to know" in said


def test_damaged_part_of_a_model_is_named(model, tmp_path):
    content = bytearray(model.read_bytes())
    at = content.index(b"\x89HDF") + 2000
    content[at] ^= 1
    (tmp_path / "model.keras").write_bytes(content)
    assert "damaged, its model.weights.h5" in refusal(load_model, tmp_path / "model.keras")


def test_encrypted_model(model, tmp_path):
    content = bytearray(model.read_bytes())
    for head, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(head), bytes(content)):
            content[found.start() + flag] |= 1
    (tmp_path / "model.keras").write_bytes(content)
    assert "encrypted" in refusal(load_model, tmp_path / "model.keras")


def test_models_of_other_kinds(tmp_path):
    a, b = keras.Input((28, 28, 1)), keras.Input((3,))
    flat = keras.layers.Flatten()(a)
    two = keras.Model([a, b], keras.layers.Concatenate()([flat, b]))
    two.save(tmp_path / "two.keras")
    assert "expected gray images" in refusal(load_model, tmp_path / "two.keras")
    keras.Sequential([keras.layers.Dense(3)]).save(tmp_path / "unbuilt.keras")
    assert "unbuilt.keras: not a Keras model" in refusal(load_model, tmp_path / "unbuilt.keras")


# --- revisions -----------------------------------------------------------------------------------

TEST = "predictions/test_classes.npz"


@pytest.fixture(scope="module")
def git(tmp_path_factory):
    """A repository with DVC."""
    folder = tmp_path_factory.mktemp("revisions")
    git = pygit2.init_repository(folder)
    DvcRepo.init(str(folder)).close()
    return git


def run_of(git, contents):
    """What `k49 compare` and `k49 report` read of a commit."""
    name = commit(git, contents)
    with revisions(Path(git.workdir)) as found:
        return found.run(name), found.curves(name)


def arrays(**changes):
    """Predicted classes as an npz, some of its arrays replaced."""
    file = io.BytesIO()
    with np.load(io.BytesIO(RUN[TEST])) as whole:
        np.savez(file, **{**whole, **changes})
    return file.getvalue()


def plain_npy():
    file = io.BytesIO()
    np.save(file, np.zeros(9, np.uint8))
    return file.getvalue()


def metrics(**changes):
    return json.dumps({**json.loads(RUN["metrics/train.json"]), **changes}).encode()


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        (TEST, arrays(counts=np.full(49, 10**12, np.int64)), "arrays don't fit together"),
        (TEST, arrays(counts=np.array([2**63 // 49 * 2] * 49, np.uint64)), "don't fit together"),
        (TEST, arrays(counts=np.full(49, -1)), "no number of images for each class"),
        (TEST, arrays(classes=np.array(["a\nb"] * 49)), "is no name of a class"),
        (TEST, plain_npy(), "not a readable npz file"),
        (TEST, b"", "not a readable npz file"),
        ("params.yaml", bomb().encode(), "an alias of line"),
        ("params.yaml", b"a: &a [*a]", "an alias of line 1"),
        ("params.yaml", b"[1, 2]", "a list, expected sections and keys"),
        ("params.yaml", bytes(100 << 20), "104,857,600 bytes, 524,288 at most"),
        ("metrics/train.json", metrics(train_accuracy="much"), "train_accuracy: should be a valid"),
        ("metrics/train.json", metrics(train_accuracy=1.5), "should be less than or equal to 1"),
        ("metrics/train.json", metrics(train_accuracy=float("nan")), "no finite number"),
        ("metrics/train.json", metrics(train_data="a\x1b[31m"), "should be one printable line"),
        ("plots/curves.json", b'[{"epoch": 1e9}]', "0.epoch: should be less than"),
        ("plots/curves.json", b'{"a": 1}', "plots/curves.json: "),
    ],
)
def test_revision_of_a_stranger(git, path, content, says):
    assert says in refusal(run_of, git, {**RUN, path: content})


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_revision_with_something_else_under_a_file_s_name(git, kind):
    contents = {name: content for name, content in RUN.items() if name != TEST}
    if kind == "folder":
        name = commit(git, {**contents, f"{TEST}/a": b""})
    else:
        name = commit(git, {**contents, TEST: b"/dev/zero"}, links=[TEST])
    with revisions(Path(git.workdir)) as found:
        line = refusal(found.run, name)
    assert f"{TEST} is not in git in that revision" in line


@pytest.mark.parametrize("name", HOSTILE)
def test_report_of_hostile_names(git, name):
    """Whatever a branch, a data set, a parameter or a class is called, it stays text."""
    run, _ = run_of(git, RUN)
    other = replace(
        run,
        name=f"{name} (abcdef0)",
        dataset=name,
        params={**run.params, name: name, "list": [name]},
        test=replace(run.test, predicted=np.zeros_like(run.test.predicted)),
        versions=name,
        stale=(name,),
    )
    result = compare([run], [other], resamples=100)
    page = text.report(result, [f"gate {name}"], {})
    html = MarkdownIt("commonmark").enable("table").render(page)
    tags = {"h1", "p", "code", "table", "thead", "tbody", "tr", "th", "td", "strong"}
    assert set(re.findall(r"<(\w+)", html)) <= tags
    outside = re.sub("<code>.*?</code>", "", html)
    assert "@you" not in outside
    assert "evil" not in outside
    for table in re.findall("<table>(.*?)</table>", html, re.DOTALL):
        cells = [len(re.findall("<t[hd]>", row)) for row in table.split("</tr>")[:-1]]
        assert len(set(cells)) == 1
    assert text.sentence(result).isprintable()


def test_card_of_a_hostile_name():
    figures = dict(
        train_accuracy=1.0, val_accuracy=1.0, overfitting_gap=0.0, epochs=1, versions="1"
    )
    test = dict.fromkeys(
        ["ece", "uncalibrated_ece", "coverage", "selective_accuracy", "outliers"], 0.1
    )
    test = {f"test_{name}": value for name, value in test.items()}
    card = model_card(provenance_of("<script> @you [a](b)"), {}, figures, test)
    html = MarkdownIt("commonmark").render(card.partition("\n---\n")[2])
    assert "<script" not in html
    assert "@you" not in re.sub("<code>.*?</code>", "", html)
    assert "href" not in re.sub("<code>.*?</code>", "", html)


# --- results of trials ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"{}", b'{"inputs": {"training": 1}}', b"[" * 100_000, b"\xff", b"1", b""]
)
def test_odd_file_is_no_result_of_a_trial(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert read_results(tmp_path) == {}


# --- files and ports -----------------------------------------------------------------------------


@pytest.mark.parametrize("reaped", [True, False])
def test_what_a_killed_write_left_is_removed_and_not_for_git(tmp_path, reaped):
    """Was left while nobody had asked how the process ended, as in containers without an init."""
    path = tmp_path / "model.keras"
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom k49.io import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as tmp:\n"
        "    tmp.write_bytes(b'half')\n    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", script, path], cwd=ROOT)
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
    if reaped:
        killed.wait()
    (left,) = tmp_path.iterdir()
    ignored = subprocess.run(["git", "check-ignore", f"models/{left.name}"], cwd=ROOT, check=False)
    assert ignored.returncode == 0
    with atomic_write(path) as tmp:
        tmp.write_bytes(b"whole")
    killed.wait()
    assert [each.name for each in tmp_path.iterdir()] == ["model.keras"]


# --- environments --------------------------------------------------------------------------------


@pytest.mark.slow
def test_environment_of_another_kind_changes_no_answer(tmp_path, model):
    """All at once: another backend, odd settings of libraries, a terminal that shows little."""
    saved(tmp_path / "ink.png", Image.fromarray(255 - ink()))
    (tmp_path / "home/.keras").mkdir(parents=True)
    of_keras = {"floatx": "float16", "epsilon": 0.1, "backend": "jax"}
    (tmp_path / "home/.keras/keras.json").write_text(
        json.dumps({**of_keras, "image_data_format": "channels_first"})
    )
    (tmp_path / "home/.config/dask").mkdir(parents=True)
    (tmp_path / "home/.config/dask/dask.yaml").write_text("distributed: [nonsense")
    (tmp_path / "matplotlibrc").write_text("backend: TkAgg\nfont.size: nonsense\n")
    odd = dict(
        HOME=str(tmp_path / "home"),
        KERAS_BACKEND="torch",
        XLA_FLAGS="--no_such_flag",
        MPLBACKEND="TkAgg",
        MATPLOTLIBRC=str(tmp_path),
        DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE="nonsense",
        LC_ALL="C",
        COLUMNS="30",
        NO_COLOR="1",
        TERM="dumb",
    )
    command = ["k49", "predict", "ink.png", "--model", model, "--format", "csv"]
    answers = []
    for env in (environment(tmp_path), {**environment(tmp_path, warm=False), **odd}):
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout)
    assert answers[0] == answers[1]


def test_keras_json_that_keras_can_t_use(tmp_path):
    """Was: the room that reads it was passed by, by stages calibrate and evaluate."""
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras/keras.json").write_text('{"floatx": "float99"}')
    env = {**environment(tmp_path, warm=False), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", "import k49.calibration.detector"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert "keras.json: Keras can't use it" in done.stderr.splitlines()[-1]


# --- fuzz ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_mutants_of_every_kind_of_file():
    """A few of those of `make torture`."""
    command = [sys.executable, "-m", "tests.torture.fuzz", "5", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "mutant " not in done.stdout, done.stdout
    assert len(done.stdout.splitlines()) == 21
    assert all(re.search(r": 5 mutants, 0 faults, ", line) for line in done.stdout.splitlines())
