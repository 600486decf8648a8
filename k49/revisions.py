"""A run as git has it: of a revision, a branch, an experiment of DVC, or the workspace.

Only this module, `stage.py` and the command know of DVC. No cache and no remote is
needed: metrics, parameters and predicted classes are in git.
"""

import getpass
import io
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pygit2
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from dvc.repo.experiments.utils import exp_refs
from dvc.scm import NoSCM, RevError, SCMError, resolve_rev

from k49.comparison.runs import Curves, Run, TrainMetrics
from k49.errors import K49Error, NotComparableError
from k49.evaluation import predictions
from k49.io import MOST_JSON, MOST_YAML, check_size, flatten, parse_json, parse_yaml, read_bytes
from k49.progress import tracked
from k49.settings import Augment, Fit, validate
from k49.stage import CLASSES, CURVES, HYPERPARAMETERS, METRICS, PARAMS

WORKSPACE = "workspace"
# Parameters without effect on any result
WITHOUT_EFFECT = {"tune.workers", "tune.scheduler", "data.timeout", "data.retries", "data.mirrors"}
DEFAULTS = {  # of parameters that older files lack
    f"{section}.{key}": field.default
    for section, model in (("augment", Augment), ("fit", Fit))
    for key, field in model.model_fields.items()
    if not field.is_required()
}
EXECUTABLE = pygit2.enums.FileMode.BLOB_EXECUTABLE


class Revisions:
    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        if isinstance(repo.scm, NoSCM):
            raise K49Error(f"{repo.root_dir}: no git repository, so there are no revisions")
        self._git = pygit2.Repository(repo.scm.root_dir)
        self._inside = PurePosixPath(Path(repo.root_dir).relative_to(repo.scm.root_dir))

    def side(self, names: str) -> list[Run]:
        """Return the runs of one side; names as `names` takes them.

        Raises:
            K49Error: there is no such revision, or a run is not whole in it.
        """
        return [self.run(name) for name in tracked(self.names(names), "revisions")]

    def names(self, names: str) -> list[str]:
        """Split names at commas, each once; `*` and `?` match names of experiments.

        Raises:
            K49Error: there are none.
        """
        known = sorted({ref.name for ref in exp_refs(self._repo.scm) if ref.name})
        chosen: list[str] = []
        for name in filter(None, names.split(",")):
            matching = [experiment for experiment in known if fnmatchcase(experiment, name)]
            if not matching and any(sign in name for sign in "*?["):
                raise K49Error(f"{name}: no experiment has such a name; `dvc exp list` names them")
            chosen += matching or [name]
        if not chosen:
            raise K49Error(f"{names!r}: names no revision")
        return list(dict.fromkeys(chosen))

    def run(self, name: str) -> Run:
        """Read the run of a revision.

        Raises:
            K49Error: there is no such revision, or the run is not whole in it.
        """
        path = METRICS / "train.json"
        train = validate(TrainMetrics, self.read(name, path), f"{name}: {path}")
        return Run(
            name=self.title(name),
            dataset=train.train_data,
            train_accuracy=train.train_accuracy,
            val=self._predictions(name, "val"),
            test=self._predictions(name, "test"),
            versions=train.versions,
            params={
                **used(self._flat(name, PARAMS)),
                **self._flat(name, HYPERPARAMETERS, "hyperparameters."),
            },
            stale=self._stale() if name == WORKSPACE else (),
        )

    def _flat(self, name: str, path: Path, prefix: str = "") -> dict[str, Any]:
        content = self.read(name, path)
        if not isinstance(content, dict):
            raise K49Error(f"{name}: {path}: a list, expected sections and keys")
        return dict(flatten(content, prefix))

    def _predictions(self, name: str, split: str) -> predictions.Predictions:
        where = f"{name}: {CLASSES[split]}"
        read = predictions.load(io.BytesIO(self.bytes(name, CLASSES[split], MOST_JSON)), where)
        if split == "test" and read.scores is None:
            raise K49Error(f"{where}: has no scores of its probabilities; `dvc repro` writes them")
        return read

    def _stale(self) -> tuple[str, ...]:
        """Return the stages up to evaluate that are stale; files that a clone lacks don't count.

        Nor does check, which reads all settings, and whose output is always the same.
        """
        target = f"{Path(self._repo.root_dir, 'dvc.yaml')}:evaluate"
        status = self._repo.status(targets=[target], with_deps=True)
        stale = (stage for stage in status if "modified" in str(status[stage]))
        names = (stage.rpartition(":")[2] for stage in stale)  # from elsewhere with its file
        return tuple(name for name in names if name != "check")

    def curves(self, name: str) -> list[dict]:
        """Return the rows of a revision's `plots/curves.json`.

        Raises:
            K49Error: it isn't there, or holds something else.
        """
        return validate(Curves, self.read(name, CURVES), f"{name}: {CURVES}").model_dump()

    def read(self, name: str, path: Path) -> Any:
        """Return the content of a JSON or YAML file, a mapping or a list.

        Raises:
            K49Error: it isn't there, or holds something else, as a merge may leave it.
        """
        where = f"{name}: {path}"
        parse, most = (parse_json, MOST_JSON) if path.suffix == ".json" else (parse_yaml, MOST_YAML)
        content = parse(self.bytes(name, path, most), where)
        if not content or not isinstance(content, dict | list):
            raise K49Error(f"{where}: is empty")
        return content

    def bytes(self, name: str, path: Path, most: int) -> bytes:
        """Return the content of a file of `most` bytes at most.

        Raises:
            NotComparableError: the revision has no such file.
            K49Error: the workspace has none, or the file is larger.
        """
        root = Path(self._repo.root_dir)
        advice = "`dvc repro` makes it, and the commit must hold it"
        if path == PARAMS:
            advice = "every run needs it; `git checkout -- params.yaml` brings it back"
        if name == WORKSPACE:
            if not (root / path).exists():
                raise K49Error(f"{name}: {path} isn't there; {advice}")
            return read_bytes(root / path, most)
        try:
            # not by DVC's file system of a commit, which streams and may wait for ever
            # (libgit2/pygit2#1488)
            tree = self._git[self.sha(name)].peel(pygit2.Tree)
            entry = tree[str(self._inside / path)]
            if entry.filemode not in (pygit2.enums.FileMode.BLOB, EXECUTABLE):
                raise KeyError(path)
            _, size = self._git.odb.read_header(entry.id)  # before it is unpacked
        except (KeyError, pygit2.GitError) as error:
            raise NotComparableError(
                f"{name}: {path} is not in git in that revision; {advice}"
            ) from error
        check_size(size, most, f"{name}: {path}")
        return self._git[entry.id].data

    def sha(self, name: str) -> str:
        """Return the commit that a name stands for."""
        try:
            return resolve_rev(self._repo.scm, name)
        except (RevError, SCMError) as error:
            raise K49Error(
                f"{name}: no revision, branch or experiment ({error}); "
                "`dvc exp list --all-commits` names experiments"
            ) from error

    def title(self, name: str) -> str:
        if name == WORKSPACE:
            return name
        short = self.sha(name)[:7]
        return name if name.startswith(short) else f"{name} ({short})"


def used(params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that results depend on; those that a file lacks by their defaults.

    The searched space is called `space`, whatever its name: so two of them compare key by key.
    """
    chosen = f"spaces.{params.get('tune.space')}."
    unused = ("gate.", *(() if params.get("data.source") == "standin" else ("standin.",)))
    return {
        **DEFAULTS,
        **{
            key.replace(chosen, "space.", 1) if key.startswith(chosen) else key: value
            for key, value in params.items()
            if key not in WITHOUT_EFFECT
            and not key.startswith(unused)
            and (key.startswith(chosen) or not key.startswith("spaces."))
        },
    }


@contextmanager
def revisions(folder: Path) -> Iterator[Revisions]:
    """Open the revisions of the project in `folder`.

    Raises:
        K49Error: there is no project with git and DVC, or DVC can't work there.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError) as error:  # as in a container
        raise K49Error("this user has no name, which DVC needs; set USER to one") from error
    try:
        with Repo(str(folder)) as repo:
            yield Revisions(repo)
    except NotDvcRepoError as error:
        raise K49Error(f"{folder.resolve()}: not in a project of DVC") from error
    except DvcException as error:
        raise K49Error(f"{folder.resolve()}: {error}") from error
    except sqlite3.Error as error:
        raise K49Error(
            f"DVC can't use its notes on files ({error}); make room on the disk, or set "
            "DVC_SITE_CACHE_DIR to a folder that can be written to"
        ) from error


def commit_of(folder: Path) -> str | None:
    """Return the commit that a project is at; None where there is no project, or no commit."""
    with suppress(K49Error), revisions(folder) as known:
        return known.sha("HEAD")
    return None
