"""README's and the pages' commands do what they say, one after the other; on a tiny data set."""

import re
import runpy

import numpy as np
import pytest
from PIL import Image

from tests import forms
from tests.forms import Made, made
from tests.helpers import PARAMS, ROOT, STAGES, Repo, ink, mirror_of, saved, stages_run

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page):
    """The commands of a page's console blocks, each with its comment."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    return re.findall(r"^\$ (.+?)(?:\s{2,}# (.+))?$", "".join(blocks), re.MULTILINE)


COMMANDS = {page.name: found for page in PAGES if (found := commands(page))}

# What a test can't do, or has done already.
LEFT_OUT = {
    "make repro": "installs, then runs what is run here",
    "make install": "made the environment that this runs in",
    "make test": "is what runs this",
    "make test-fast": "a part of it",
    "make lint": "ran before it",
    "source .venv/bin/activate": "the environment that this runs in",
    "dvc exp run -S data.source=k49": "needs its authors' server",
    "dvc exp run --queue --name five -S 'train.seed=range(1, 6)'": "README's has a shorter range",
    "git checkout --ours MODEL_CARD.md dvc.lock metrics models plots predictions": "in a merge: "
    "test_experiments.py",
    'git add -A && git commit -m "Merge both"': "there, too",
    "dvc exp run --queue --name folds -S 'split.fold=range(0, 5)'": "half a minute; ran once",
    "k49 suspects 'folds-*'": "of these",
    "dvc exp run --name cleaned -S data.exclude=labels/exclude.csv "
    "-S data.relabel=labels/relabel.csv": "test_compare.py",
    "k49 compare main cleaned": "of this one",
    "dvc exp run --queue --name grid -S train.learning_rate=0.001,0.003 -S train.epochs=5,10 "
    "-S 'train.seed=range(1, 4)' -S train.min_steps=0": "the fixture `compared` has a smaller one",
    "dvc queue start -j 2": "likewise",
    "dvc exp run $(k49 recipe report)": "as README's line, with another recipe",
    "dvc exp run $(k49 recipe default)": "likewise",
}
SHORT = "-S tune.trials=1 -S tune.epochs=1 -S train.epochs=3 -S train.min_steps=0"
# What stands for the reader's own; fewer runs, and recipes cut short behind what they set.
PLACES = {
    "/path/to/fashion-mnist": "{mirror}/../fashion",
    "/path/to/emnist-letters": "{mirror}/../emnist",
    "/path/to/pictures": "{mirror}/../pictures",
    "=fashion ": f"=fashion {SHORT} ",
    "transpose=true": "transpose=true split",  # the stages behind it are as with fashion
    "'data.image_size=[16,20]'": "'data.image_size=[16,20]' split",
    "/path/to/store": "{mirror}/../store",
    "5e-3, 3)": "5e-3, 0)",
    "recipe cnn)": f"recipe cnn) {SHORT} -S spaces.cnn.units.min=8 -S spaces.cnn.units.max=8",
    "recipe report)": f"recipe report) {SHORT}",
    "range(1, 4)": "range(1, 3)",
}
# What a command must print, besides its comment's "reruns ...".
PRINTS = {
    "dvc dag": r"\| evaluate \|",
    "dvc metrics diff": r"(?s)(?=.*test_accuracy)(?=.*overfitting_gap)",
    "dvc params diff": r"train\.epochs",
    "dvc plots diff": r"index\.html",
    "dvc plots show": r"index\.html",
    "dvc exp run $(k49 recipe cnn)": r"(?m)^Running stage 'tune'",
    "dvc queue start": r"Started|started",
    "k49 rank": r"best on [\d,]+ validation images|a single setting, HEAD and 2 more",
    "k49 rank 'grid-*' --figure rank.png": r"a single setting, grid-\d and 1 more",
    "k49 rank main 'grid-*' --format csv": r"(?m)^2,grid-\d grid-\d,",
    "k49 suspects": r"labels are likely errors",
    "k49 compare main grid-1": r"train\.epochs +2 +6",
    "k49 trials": r"\brelu he_uniform\b",
    "dvc push": r"files pushed",
    "dvc exp push --no-cache origin smoother": r"Pushed experiment smoother",
    "k49 compare": r"the same, image for image|better|worse|no difference",
    "k49 compare main faster --format md": r"train\.learning_rate \| - \| 0\.005",
    "k49 report --base main -o report": r"wrote report/report\.md",
    "k49 compare main 'seeds-*'": r"seeds-\* \(2 runs\)",
    "k49 predict docs/scan.png": r"(?m)^ *docs/scan\.png\[2\] ",
    "k49 predict scan.png": r"(?m)^ *scan\.png ",
    "dvc exp run -S data.source=fashion": r"Fashion-MNIST \([0-9a-f]{8}\): train accuracy",
    "dvc exp run -S data.source=/path/to/emnist-letters -S data.transpose=true": (
        r"emnist \([0-9a-f]{8}\): \{'train'"
    ),
    "k49 predict scan.png another.jpg": r"(?m)^ *scan\.png (.|\n)*^ *another\.jpg ",
    "k49 predict many.npz --top 1 --format csv": r"(?m)^many\.npz\[1\],1,.,U\+",
    "dvc artifacts get . k49 --out given.keras": r"given\.keras",
}


def test_every_expectation_is_of_a_command():
    found = {command for page in COMMANDS.values() for command, _ in page}
    assert set(PRINTS) | set(LEFT_OUT) <= found
    text = "".join(page.read_text("utf-8") for page in PAGES)
    assert all(place in text for place in PLACES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_short_and_its_links_lead_somewhere(page):
    text = page.read_text("utf-8")
    assert len(text.splitlines()) <= (220 if page.name == "README.md" else 175)
    for link in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (page.parent / link).exists(), link


def test_page_of_parameters_is_as_its_script_writes_it():
    page = runpy.run_path(str(ROOT / "docs/parameters.py"))["page"](PARAMS)
    assert (ROOT / "docs/parameters.md").read_text("utf-8") == page, "run `make docs`"


@pytest.mark.slow
def test_examples_for_contributors_pass_lint_and_tests(fresh, tmp_path):
    """Was: the network failed ruff six times, a space two tests, a metric nineteen.

    And 52 tests failed after README's `git commit -m "Train longer"`: here other settings, another
    source and a run of them are committed.
    """
    changes = {"fit.dropout": 0.3, "tune.space": "cnn", "data.source": tmp_path, "gate.fall": 1}
    for key, value in changes.items():
        fresh.set_param(key, value)
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for name, content in re.findall(r"(?s)^```python\n# (\S+)\n(.*?)^```", text, re.M):
        (fresh.path / name).write_text(content, "utf-8")
    for number, diff in enumerate(re.findall(r"(?s)^```diff\n(.*?)^```", text, re.M)):
        file = fresh.path.with_name(f"{number}.diff")
        file.write_text(diff, "utf-8")
        fresh.git("apply", "--unidiff-zero", "--recount", file)
    params = fresh.path / "params.yaml"
    space = re.search(r"(?ms)^  report:.*?(?=^\w)", params.read_text("utf-8"))[0]
    mine = space.replace("  report:", "  mine:").replace(
        "network: mlp", "network: networks.mine:mine"
    )
    params.write_text(
        params.read_text("utf-8").replace(space, f"{space.rstrip()}\n{mine}"), "utf-8"
    )
    fresh.run("ruff", "check", ".")
    fresh.run("ruff", "format", "--check", ".")
    fresh.commit("Other settings, another source, a network and a metric")
    modules = ("evaluation/test_metrics.py", "test_settings.py", "test_recipes.py")
    named = [f"tests/{name}" for name in (*modules, "pipeline/test_docs.py")]
    fresh.run("python", "-m", "pytest", "--noconftest", "-m", "not slow", *named)
    code = (
        "from tests.helpers import *; from k49.training.model import build_model; "
        "mine = SMALL_MODEL.model_copy(update={'network': 'networks.mine:mine'}); "
        "print(build_model(mine, PLAIN, *SHAPE).name)"
    )
    assert "networks_mine_mine" in fresh.run("python", "-c", code).stdout


@pytest.fixture
def repo(page, request, tmp_path):
    """What the reader of a page has: pictures, arrays, an origin, folders with other data."""
    if page == "sweeps.md":
        fresh = request.getfixturevalue("compared").copy_to(tmp_path)
        for number in (1, 2):
            fresh.dvc("exp", "rename", f"seeds-{number}", f"grid-{number}")
    else:
        fresh = request.getfixturevalue("fresh")
    mirror_of(fresh.path / "data/raw", tmp_path / "mirror")
    forms.idx(tmp_path / "fashion", made(10, (28, 28), (20, 5)))
    wide = made(200, (24, 20), (8, 2))
    lying = Made(*((x.swapaxes(1, 2), y) for x, y in (wide.train, wide.test)))
    forms.idx(tmp_path / "emnist", lying, prefix="emnist-letters-", test="test")
    forms.ink_folders(tmp_path / "pictures", ["a", "ankle boot", "あ"])
    for name in ("scan.png", "another.jpg"):
        saved(fresh.path / name, Image.fromarray(255 - ink()))
    np.savez(fresh.path / "many.npz", np.stack([ink(28, 28)] * 2))
    fresh.git("init", "--quiet", "--bare", tmp_path / "origin")
    fresh.git("remote", "add", "origin", tmp_path / "origin")
    fresh.git("push", "--quiet", "origin", "main")
    return fresh


@pytest.mark.slow
@pytest.mark.parametrize("page", [name for name in COMMANDS if name != "CONTRIBUTING.md"])
def test_commands_one_after_the_other(repo, tmp_path, page):
    default = repo.read("params.yaml")["train"]["learning_rate"]
    (text,) = (path.read_text("utf-8") for path in PAGES if path.name == page)
    for name, content in re.findall(r"(?s)^```yaml\n# (\S+)\n(.*?)^```", text, re.M):
        for place, mine in PLACES.items():
            content = content.replace(place, mine.format(mirror=tmp_path / "mirror"))
        (repo.path / name).write_text(content, "utf-8")
    for command, comment in COMMANDS[page]:
        if command in LEFT_OUT or "'five-*'" in command:
            continue
        changed = command
        for place, mine in PLACES.items():
            changed = changed.replace(place, mine.format(mirror=tmp_path / "mirror"))
        printed = repo.run("bash", "-c", changed).stdout
        assert "Traceback" not in printed, command
        assert re.search(PRINTS.get(command, ""), printed), f"{command}: {printed}"
        if reruns := re.search(r"reruns (.+)", comment):
            everything = STAGES[: STAGES.index("split") + 1] if " split" in changed else STAGES
            expected = (
                everything if reruns[1] == "everything" else ["check", *reruns[1].split(", ")]
            )
            assert stages_run(printed) == expected, command
        if command.startswith("dvc exp show"):
            assert max(map(len, printed.splitlines())) <= 160, printed
            assert re.search(r"[├└]── .*\[", printed), "shows experiments"
        if command.startswith("dvc queue start"):
            repo.wait_for_queue()
        if command.startswith("git checkout ."):
            assert not repo.dvc_json("status")
            assert repo.read("params.yaml")["train"]["learning_rate"] == default
    if page == "README.md":  # the colleague; was: no remote, and the outputs of another run
        repo.git("clone", "--quiet", ".", tmp_path / "colleague")
        colleague = Repo(tmp_path / "colleague")
        colleague.dvc("pull")
        assert (colleague.path / "models/model.onnx").stat().st_size
        assert not stages_run(colleague.dvc("repro").stdout)
    if "given.keras" in str(COMMANDS[page]):
        assert (repo.path / "given.keras").is_file()
        assert "more-smoothing" in repo.git("branch").stdout
