"""`k49 compare` in real repositories: revisions, experiments, groups of seeds, refusals."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from k49.io import read_yaml
from tests.helpers import CHARACTERS, ROOT, Repo, stages_run

pytestmark = pytest.mark.slow


def k49_json(repo, *arguments):
    return json.loads(repo.run("k49", "compare", *arguments, "--format", "json").stdout)


def refusal(repo, *arguments):
    """The one line that `k49 compare` refuses with."""
    done = repo.run("k49", "compare", *arguments, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("error: ")
    assert done.stdout.count("\n") == 1, done.stdout
    return done.stdout


def test_nothing_changed_is_the_same_image_for_image(compared):
    """What `make repro` ends with, on the same machine."""
    printed = compared.run("k49", "compare").stdout
    images = compared.read("metrics/data.json")["images"]["test"]
    head = f"HEAD ({compared.git('rev-parse', '--short=7', 'HEAD').stdout.strip()})"
    assert printed.splitlines()[-1] == (
        f"the same, image for image: workspace reads all {images:,} test images as {head} does"
    )


def test_figures_are_those_of_the_metrics_files(compared):
    found = {each["metric"]: each for each in k49_json(compared)["differences"]}
    metrics = {**compared.read("metrics/test.json"), **compared.read("metrics/train.json")}
    assert set(found) == {
        *("test_accuracy", "test_balanced_accuracy", "test_macro_f1"),
        *("val_minus_test", "overfitting_gap", "test_ece", "test_nll", "test_brier"),
    }
    bytes_of = {"test_ece": 0.01, "test_nll": 0.2, "test_brier": 0.04}  # what git holds is rounded
    for name, each in found.items():
        near = pytest.approx(metrics[name], abs=bytes_of.get(name, 2e-6))
        assert each["a"] == each["b"] == near, name


def test_experiment_beside_a_branch(compared):
    found = k49_json(compared, "main", "seeds-1")
    assert found["verdict"] in ("better", "no difference", "worse")
    assert found["params"] == {"train.seed": [49, 1], "train.epochs": [2, 6]}
    accuracy = found["differences"][0]
    assert accuracy["low"] <= accuracy["difference"] <= accuracy["high"]
    net = found["only_b"] - found["only_a"]
    assert accuracy["difference"] == pytest.approx(net / found["images"])
    assert sum(each["b"] - each["a"] for each in found["classes"]) == pytest.approx(net)
    back = k49_json(compared, "seeds-1", "main")
    assert back["differences"][0]["difference"] == -accuracy["difference"]
    assert back["p_value"] == found["p_value"]


def test_settings_that_were_not_run_are_named(compared, tmp_path):
    """Else their effect would seem to be none: the figures are still those of before."""
    repo = compared.copy_to(tmp_path)
    assert not k49_json(repo)["notes"]
    shutil.rmtree(repo.path / ".dvc/cache")
    shutil.rmtree(repo.path / "data")
    assert not k49_json(repo)["notes"], "a fresh clone lacks data, and yet is what it says"
    repo.set_param("spaces.resnet.units.max", 64)
    assert k49_json(repo)["params"] == {}, "another space is searched"
    repo.set_param("train.epochs", 9)
    found = k49_json(repo)
    assert found["params"] == {"train.epochs": [2, 9]}
    assert found["notes"][0].startswith("workspace: code or settings of train changed after it ran")


def test_runs_at_once_are_as_runs_alone(compared, tmp_path):
    repo = compared.copy_to(tmp_path)
    repo.dvc("exp", "run", "-S", "train.epochs=6", "-S", "train.seed=2")
    found = k49_json(repo, "seeds-2")
    assert found["verdict"] == "the same"
    assert not found["params"]


def test_group_of_seeds(compared):
    found = k49_json(compared, "main", "seeds-*")
    assert [name.split()[0] for name in found["b"]] == ["seeds-1", "seeds-2"]
    assert found["differences"][0]["a_std"] is None
    assert found["differences"][0]["b_std"] is not None
    assert found["params"] == {"train.epochs": [2, 6], "train.seed": [49, [1, 2]]}
    named = k49_json(compared, "main", "seeds-1,seeds-2")
    assert named == found
    assert "3 trainings" in found["sentence"] or found["verdict"] in ("better", "worse")


def test_markdown_and_table_say_the_same(compared):
    tables = compared.run("k49", "compare", "main", "seeds-1").stdout
    markdown = compared.run("k49", "compare", "main", "seeds-1", "--format", "md").stdout
    sentence = k49_json(compared, "main", "seeds-1")["sentence"]
    assert tables.splitlines()[-1] == sentence
    assert markdown.startswith(f"**{sentence}**")
    assert "stand-in (drawn, not K49)" in tables
    assert "stand-in (drawn, not K49)" in markdown
    for row in re.findall(r"^\| (?!---|percent|parameter|class)(.+) \|$", markdown, re.MULTILINE):
        cells = row.split(" | ")
        assert any(all(cell in line for cell in cells) for line in tables.splitlines()), row


def test_report_is_a_page_with_pictures(compared, tmp_path):
    folder = tmp_path / "report"
    printed = compared.run("k49", "report", "--head", "seeds-1", "-o", folder).stdout
    sentence = k49_json(compared, "main", "seeds-1")["sentence"]
    assert printed == f"{sentence}\nwrote {folder / 'report.md'}\n"
    page = (folder / "report.md").read_text("utf-8")
    assert sentence in page
    assert "stand-in (drawn, not K49)" in page
    assert "| train.epochs | 2 | 6 |" in page
    assert "Gate: passed." in page
    named = re.findall(r"^!\[.+\]\((.+)\)$", page, re.MULTILINE)
    assert named == ["curves.png", "changes.png"]
    assert sorted(file.name for file in folder.iterdir()) == sorted([*named, "report.md"])
    for name in named:
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 300
            assert np.asarray(picture.convert("L")).std() > 5, f"{name} is blank"


def test_rank_groups_the_seeds(compared, tmp_path):
    picture = tmp_path / "rank.png"
    ranking = json.loads(
        compared.run("k49", "rank", "--format", "json", "--figure", picture).stdout.split(
            "\nwrote"
        )[0]
    )
    by_runs = {len(group["names"]): group for group in ranking["groups"]}
    assert [name.split()[0] for name in by_runs[2]["names"]] == ["seeds-1", "seeds-2"]
    assert by_runs[2]["params"] == {"train.epochs": 6}
    assert by_runs[1]["to_base"] is None
    assert by_runs[1]["means"]["weights"] > 1000
    compare = k49_json(compared, "main", "seeds-*")
    assert by_runs[2]["means"]["test_accuracy"] == pytest.approx(
        compare["differences"][0]["b"], abs=1e-6
    )
    named = compared.run("k49", "rank", "main", "seeds-*", "--format", "csv").stdout
    assert [row.split(",")[0] for row in named.splitlines()[1:]] in (["1", "2"], ["2", "1"])
    with Image.open(picture) as image:
        assert np.asarray(image.convert("L")).std() > 5
    refused = compared.run("k49", "rank", "nothing-*", check=False)
    assert refused.stdout.startswith("error: nothing-*: no experiment has such a name")


def test_report_of_several_heads_ranks_them(compared, tmp_path):
    heads = ("--head", "seeds-1", "--head", "seeds-2", "--head", "main")
    compared.run("k49", "report", *heads, "-o", tmp_path)
    page = (tmp_path / "report.md").read_text("utf-8")
    assert page.startswith("# `seeds-* (2 runs)` compared with main")
    assert "| seeds-1 and 1 more" in page
    assert (tmp_path / "rank.png").exists()


def test_suspects_of_a_run(compared, tmp_path):
    repo = compared.copy_to(tmp_path)
    picture = tmp_path / "suspects.png"
    printed = repo.run("k49", "suspects", "seeds-1", "--top", "7", "--figure", picture).stdout
    assert re.search(r"(?m)^ +\*? +(train|test) +\d+ +. +. ", printed)
    images = repo.read("metrics/data.json")["images"]
    assert f"judged {images['val']:,} of {images['train'] + images['val']:,} train" in printed
    assert f"of {images['val'] + images['test']:,} labels are likely errors" in printed
    with Image.open(picture) as image:
        assert np.asarray(image.convert("L")).std() > 5
    shutil.rmtree(repo.path / "data/raw")
    refused = repo.run("k49", "suspects", check=False)
    assert refused.returncode == 1
    assert refused.stdout.startswith("error: data/raw/train_images.npy: not there; `dvc repro`")


def test_suspects_that_are_left_out_are_counted_and_no_suspects_any_more(compared, tmp_path):
    """`data.exclude` with what `k49 suspects` prints, as an experiment."""
    repo = compared.copy_to(tmp_path)
    ask = ("k49", "suspects", "--top", "1000", "--format", "csv")
    header, *lines = repo.run(*ask).stdout.splitlines()
    counts = repo.read("metrics/data.json")["images_of_class"]["val"]
    often = {CHARACTERS[label] for label, images in enumerate(counts) if images > 1}
    of_class = {line.split(",")[2]: line for line in lines if line.startswith("train")}
    of_train = [line for name, line in of_class.items() if name in often]  # one of a class
    of_test = [line for line in lines if line.startswith("test")][:3]
    text = "\n".join([header, *of_train, *of_test])
    (repo.path / "labels/exclude.csv").write_text(text, "utf-8")
    change = ("-S", "data.exclude=labels/exclude.csv")
    output = repo.dvc("exp", "run", "--name", "cleaned", *change).stdout
    assert stages_run(output)[:3] == ["check", "split", "tune"]
    assert "labels/exclude.csv: 3 of its rows are of test, which stays as it is" in output
    data = repo.read("metrics/data.json")
    assert data["excluded"] == {"train": 0, "val": len(of_train), "test": 0}
    assert data["images"]["val"] == sum(counts) - len(of_train)
    assert f"data.relabel`): {len(of_train)} val images left out" in repo.read("MODEL_CARD.md")
    left = repo.run("k49", "suspects", "cleaned", *ask[2:]).stdout.splitlines()
    places = {tuple(line.split(",")[:2]) for line in left}
    assert not places & {tuple(line.split(",")[:2]) for line in of_train}
    assert any(line.startswith("train") for line in left)
    differing = k49_json(repo, "main", "cleaned")["params"]
    assert differing["data.exclude"] == [None, "labels/exclude.csv"]
    assert len(set(differing["data/split"])) == 2, "the file's content, too"
    assert "left out, other validation images: cleaned" in repo.run("k49", "rank").stdout


def test_runs_that_rank_can_not_read_are_named(compared, tmp_path):
    """As of other code, or of a commit without a run."""
    repo = compared.copy_to(tmp_path)
    lock = repo.path / "dvc.lock"
    text = lock.read_text("utf-8")
    lock.write_text(re.sub(r"(path: k49/training\n.*\n +md5: )\w{4}", r"\g<1>0000", text), "utf-8")
    repo.git("commit", "-qam", "other code")
    repo.git("rm", "-q", "metrics/test.json")
    repo.git("commit", "-qm", "no run")
    printed = repo.run("k49", "rank", "-n", "3").stdout
    assert (
        "left out, trained by other code: seeds-1" in printed or "trained by other code" in printed
    )
    assert "metrics/test.json is not in git in that revision" in printed
    assert "a single setting" in printed


def test_report_of_nothing_new(compared, tmp_path):
    compared.run("k49", "report", "-o", tmp_path)
    assert "the same, image for image" in (tmp_path / "report.md").read_text("utf-8")


def test_gate_fails_the_check_and_leaves_the_report(compared, tmp_path):
    repo = compared.copy_to(tmp_path)
    repo.set_param("gate.overfitting_gap", -0.5)
    gated = repo.run("k49", "report", "--gate", check=False)
    assert gated.returncode == 1
    assert gated.stdout.splitlines()[-1].startswith("error: gate: overfitting gap ")
    assert "gate.overfitting_gap allows -50.00" in (repo.path / "report/report.md").read_text()
    assert repo.run("k49", "report").returncode == 0
    assert not repo.git("status", "--porcelain", "--", "report").stdout, "ignored by git"


def test_fresh_clone_compares_without_cache_and_remote(compared, tmp_path):
    """Predicted classes are in git, and so in every clone that has the experiments' refs."""
    compared.git("clone", "--quiet", compared.path, tmp_path / "clone")
    clone = Repo(tmp_path / "clone")
    clone.git("fetch", "--quiet", "origin", "refs/exps/*:refs/exps/*")
    assert not (clone.path / ".dvc/cache").exists()
    assert (
        k49_json(clone, "origin/main", "seeds-1")["differences"]
        == (k49_json(compared, "main", "seeds-1")["differences"])
    )


def test_project_in_a_folder_of_a_repository(compared, tmp_path):
    """And the command from a folder inside it."""
    whole = Repo(tmp_path / "whole")
    whole.path.mkdir()
    whole.git("init", "--quiet")
    for key, value in {"user.name": "Test", "user.email": "test@example.invalid"}.items():
        whole.git("config", key, value)
    compared.git("archive", "--format=tar", f"--output={tmp_path}/inside.tar", "HEAD")
    (whole.path / "inside").mkdir()
    whole.run("tar", "-xf", tmp_path / "inside.tar", "-C", "inside")
    whole.commit("everything")
    inside = Repo(whole.path / "inside")
    inside.set_param("train.epochs", 9)
    found = k49_json(Repo(inside.path / "plots"))
    assert found["verdict"] == "the same"
    assert found["notes"][0].startswith("workspace: code or settings of train changed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no revision, branch or experiment"),
        (["main", "none-*"], "none-*: no experiment has such a name"),
        (["main", ""], "names no revision"),
        (["main", "main,seeds-1"], "are no group: they differ in train.epochs"),
        # the project's own committed run, on a larger stand-in
        (["main~1"], "and workspace have other test images"),
    ],
)
def test_refused_in_one_line(compared, arguments, said):
    assert said in refusal(compared, *arguments)


def test_revision_from_before_there_were_predictions_in_git(compared, tmp_path):
    repo = compared.copy_to(tmp_path)
    repo.git("rm", "--quiet", "--cached", "predictions/test_classes.npz")
    repo.git("commit", "--quiet", "--no-verify", "--message", "without")
    assert "HEAD: predictions/test_classes.npz is not in git in that revision" in refusal(repo)


def test_broken_predictions_are_refused(compared, tmp_path):
    repo = compared.copy_to(tmp_path)
    path = repo.path / "predictions/test_classes.npz"
    for content in (b"", b"no archive", path.read_bytes()[:-40]):
        path.write_bytes(content)
        assert "workspace: predictions/test_classes.npz: not " in refusal(repo)


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("metrics/train.json", "<<<<<<< HEAD\n{}", "metrics/train.json: not valid JSON"),
        ("metrics/train.json", "", "metrics/train.json: not valid JSON"),
        (
            "metrics/train.json",
            '{"train_data": "x"}',
            "metrics/train.json: train_accuracy: missing",
        ),
        ("models/hyperparameters.yaml", "", "models/hyperparameters.yaml: is empty"),
        ("models/hyperparameters.yaml", "units: [", "models/hyperparameters.yaml: not valid YAML"),
    ],
)
def test_files_that_a_merge_broke_are_refused(compared, tmp_path, path, content, said):
    repo = compared.copy_to(tmp_path)
    (repo.path / path).write_text(content)
    assert f"workspace: {said}" in refusal(repo)


def test_outside_of_a_project(tmp_path):
    assert "not in a project of DVC" in refusal(Repo(tmp_path))


# --- the workflow of a pull request --------------------------------------------------------------


def test_workflow_of_a_pull_request(compared, tmp_path):
    """Its lines, run in a clone without a cache, as GitHub would: nothing is trained anew."""
    compared.git("clone", "--quiet", compared.path, tmp_path / "clone")
    clone = Repo(tmp_path / "clone")
    clone.git("fetch", "--quiet", "origin", "refs/exps/*:refs/exps/*")
    clone.dvc("exp", "branch", "seeds-1", "longer")
    clone.git("checkout", "--quiet", "longer")
    steps = read_yaml(ROOT / ".github/workflows/report.yml")["jobs"]["report"]["steps"]
    lines = {step["name"]: step["run"] for step in steps if "run" in step}
    given = ("BASE=origin/main", "PICTURES=https://example.invalid/1", "GITHUB_STEP_SUMMARY=all.md")
    for name in ("Reproduce", "Report", "Summarize"):
        printed = clone.run("env", *given, "bash", "-e", "-c", lines[name]).stdout
        assert not stages_run(printed)
    summary = clone.read("all.md")
    assert summary == clone.read("comment.md")
    assert "95 % interval" in summary
    assert "| train.epochs | 2 | 6 |" in summary
    assert "[Curves and changes, as pictures](https://example.invalid/1)" in summary
    assert "![" not in summary, "GitHub shows no pictures of a check"
