"""GitHub's workflows: valid, pinned, and with no more rights than they need."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from k49.io import read_yaml
from tests.helpers import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def test_there_are_two():
    assert [path.stem for path in WORKFLOWS] == ["report", "test"]


@workflow
def test_fits_githubs_schema(path):
    command = [Path(sys.executable).with_name("check-jsonschema"), path]
    options = ["--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@workflow
def test_actions_are_pinned_by_commit(path):
    uses = re.findall(r"uses: (.+)", path.read_text("utf-8"))
    assert uses
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", each) for each in uses), uses


@workflow
def test_least_permissions(path):
    content = read_yaml(path)
    assert content["permissions"] == {"contents": "read"}
    for name, job in content["jobs"].items():
        more = {"contents": "read", "pull-requests": "write"} if name == "report" else None
        assert job.get("permissions") == more
        assert job["timeout-minutes"] <= 120
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


def test_secrets_and_comment_are_kept_from_forks():
    """Whatever runs for a fork's pull request can be changed by it."""
    content = read_yaml(ROOT / ".github/workflows/report.yml")
    assert content["on"] == "pull_request", (
        "pull_request_target would run a fork's code with rights"
    )
    for step in content["jobs"]["report"]["steps"]:
        secret = "secrets." in str(step) or "github.token" in str(step)
        assert ("env.OURS == 'true'" in step.get("if", "")) == secret, step
        assert "${{" not in step.get("run", ""), "what others name comes in by the environment only"


def test_runs_what_ci_runs():
    (step,) = [
        each["run"]
        for each in read_yaml(ROOT / ".github/workflows/test.yml")["jobs"]["test"]["steps"]
        if "run" in each
    ]
    assert step == "bash .ci/run"
    assert (ROOT / ".ci/run").read_text("utf-8").splitlines()[-1] == "make test"
