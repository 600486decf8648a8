"""A release check, not a test of `make test`: another file name keeps pytest from collecting it."""

from tests.helpers import OUTPUTS, ROOT, Repo


def test_committed_run_is_of_the_committed_code():
    """dvc.lock was made with this code, these commands and these parameters.

    Outputs are left out: a fresh clone has none of those that are not in git.
    """
    stale = {}
    for stage, changes in Repo(ROOT).dvc_json("status").items():
        for change in changes:
            if change == "changed command":
                stale[stage] = change
            elif deps := set(change.get("changed deps", {})) - set(OUTPUTS):
                stale[stage] = sorted(deps)
    assert not stale, f"run `dvc repro` and commit what it leaves: {stale}"
