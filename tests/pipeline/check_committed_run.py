"""A release check, not a test of `make test`: another file name keeps pytest from collecting it."""

import hashlib
from pathlib import Path

from k49.pipeline import read_yaml

ROOT = Path(__file__).resolve().parents[1]


def test_committed_run_is_of_the_committed_code():
    """`dvc.lock` was made with these very files: a fresh clone's `dvc repro` changes nothing."""
    stale = [
        f"{stage}: {dep['path']}"
        for stage, locked in read_yaml(ROOT / "dvc.lock")["stages"].items()
        for dep in locked["deps"]
        if dep["path"].endswith(".py")
        and hashlib.md5((ROOT / dep["path"]).read_bytes()).hexdigest() != dep["md5"]
    ]
    assert not stale, f"run `dvc repro` and commit: {stale}"
