"""A run as git has it: of a revision, a branch, an experiment of DVC, or the workspace.

Only this module, `stage.py` and the command know of DVC. No cache and no remote is
needed: metrics, parameters and predicted classes are in git.
"""

import getpass
import io
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import pygit2
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from dvc.repo.experiments.utils import exp_refs
from dvc.scm import NoSCM, RevError, SCMError, resolve_rev

from k49.comparison.ranking import METRICS as RANKED
from k49.comparison.ranking import Entry
from k49.comparison.runs import Curves, Run, TestMetrics, TrainMetrics
from k49.data import corrections
from k49.data.corrections import Corrections
from k49.errors import K49Error, NotComparableError
from k49.evaluation import predictions
from k49.io import MOST_JSON, MOST_YAML, check_size, flatten, parse_json, parse_yaml, read_bytes
from k49.progress import tracked
from k49.settings import Augment, Cleaning, Data, Fit, Split, validate
from k49.stage import CLASSES, CURVES, HYPERPARAMETERS, METRICS, PARAMS

WORKSPACE = "workspace"
# Parameters without effect on any result
WITHOUT_EFFECT = {"tune.workers", "tune.scheduler", "data.timeout", "data.retries", "data.mirrors"}
DEFAULTS = {  # of parameters that older files lack
    f"{section}.{key}": field.default
    for section, model in (("augment", Augment), ("data", Data), ("fit", Fit), ("split", Split))
    for key, field in model.model_fields.items()
    if not field.is_required()
}
LOCK, LABELS = Path("dvc.lock"), Path("labels")
CODE = ("k49/training", "k49/tta.py", "stages/train.py")  # that trains
OTHERS = ("data/split", "networks")  # on which training depends, besides code and parameters
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

    def side_with_corrections(self, names: str) -> list[tuple[Run, Corrections]]:
        """Return the same, each run with the files of `data.exclude` and `data.relabel`.

        Raises:
            K49Error: as `side`; or such a file isn't there, or is faulty.
        """
        known = tracked(self.names(names), "revisions")
        return [(run := self.run(name), self._corrections(name, run)) for name in known]

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

    def entries(
        self, names: Sequence[str], commits: int | None
    ) -> tuple[list[Entry], dict[str, str]]:
        """Return the runs that `k49 rank` compares, and which can't be read, with the reason.

        Args:
            names: of revisions and experiments, or patterns, as `names` takes them; none: HEAD and
                its experiments.
            commits: without names, of how many commits, HEAD the first; None: of all that have
                experiments.

        Raises:
            K49Error: a name stands for no revision, or no run can be read.
        """
        chosen = self._named(names) if names else self._experiments(commits)
        entries, left_out = [], {}
        for sha, title in tracked(list(chosen.items()), "experiments"):
            try:
                entries.append(self._entry(sha, title))
            except K49Error as error:
                left_out[title] = str(error).removeprefix(f"{sha}: ")
        if not entries:
            title, why = next(iter(left_out.items()))
            raise K49Error(f"no run to rank: {title}: {why}")
        return entries, left_out

    def _named(self, names: Sequence[str]) -> dict[str, str]:
        """Return titles by commit."""
        chosen: dict[str, str] = {}
        for name in self.names(",".join(names)):
            if name == WORKSPACE:
                raise K49Error(f"{name}: only what is in git is ranked; `k49 compare` takes it")
            chosen.setdefault(self.sha(name), self.title(name))
        return chosen

    def _experiments(self, commits: int | None) -> dict[str, str]:
        """Return titles by commit: HEAD and experiments of so many commits, and these commits."""
        refs = [ref for ref in exp_refs(self._repo.scm) if ref.name and ref.baseline_sha]
        head = self.sha("HEAD")
        walker = self._git.walk(head)
        walker.simplify_first_parent()
        commits_before = [str(commit.id) for commit in islice(walker, commits or 1)]
        every = [] if commits else sorted(str(ref.baseline_sha) for ref in refs)
        chosen = {sha: sha[:7] for sha in (*commits_before, *every)}
        started = {sha: [ref for ref in refs if ref.baseline_sha == sha] for sha in chosen}
        chosen[head] = self.title("HEAD")
        for ref in sorted((ref for of in started.values() for ref in of), key=str):
            sha = str(self._git.references[str(ref)].peel().id)
            chosen.setdefault(sha, f"{ref.name} ({sha[:7]})")
        return chosen

    def _entry(self, sha: str, title: str) -> Entry:
        """Read as much of a commit's run as a ranking needs, which is quick."""
        of_train, of_evaluate = METRICS / "train.json", METRICS / "test.json"
        train = validate(TrainMetrics, self.read(sha, of_train), f"{sha}: {of_train}")
        metrics = validate(TestMetrics, self.read(sha, of_evaluate), f"{sha}: {of_evaluate}")
        lock = self._lock(sha)
        val, test = (self._predictions(sha, split) for split in ("val", "test"))
        figures = {**train.model_dump(), **metrics.model_dump(), "val_accuracy": val.right.mean()}
        return Entry(
            name=title,
            dataset=train.train_data,
            params=self._params(sha, lock),
            code=" ".join(lock.get(path, "") for path in CODE).strip(),
            val_images=val.images,
            test_images=test.images,
            right=val.right,
            tests=len(test),
            metrics={name: figures[name] for name in RANKED},
        )

    def _lock(self, name: str) -> dict[str, str]:
        return trained_with(self.bytes(name, LOCK, MOST_JSON).decode(errors="replace"))

    def _params(self, name: str, lock: dict[str, str]) -> dict[str, Any]:
        """Return the settings, and hashes of the data and of the networks of one's own."""
        content = self.bytes(name, PARAMS, MOST_YAML)
        return {
            **used(flat_yaml(content, f"{name}: {PARAMS}")),
            **self._flat(name, HYPERPARAMETERS, "hyperparameters."),
            **{path: lock[path][:8] for path in OTHERS if path in lock},
        }

    def run(self, name: str) -> Run:
        """Read the run of a revision.

        Raises:
            K49Error: there is no such revision, or the run is not whole in it.
        """
        path, lock = METRICS / "train.json", dict[str, str]()
        train = validate(TrainMetrics, self.read(name, path), f"{name}: {path}")
        with suppress(K49Error):  # without one, nothing is known of its data and networks
            lock = self._lock(name)
        return Run(
            name=self.title(name),
            dataset=train.train_data,
            train_accuracy=train.train_accuracy,
            val=self._predictions(name, "val"),
            test=self._predictions(name, "test"),
            versions=train.versions,
            params=self._params(name, lock),
            stale=self._stale() if name == WORKSPACE else (),
        )

    def _corrections(self, name: str, run: Run) -> Corrections:
        chosen = {key: run.params.get(f"data.{key}") for key in Cleaning.model_fields}
        return corrections.read(
            validate(Cleaning, chosen, f"{name}: {PARAMS}: data"),
            run.test.classes,
            lambda path: self.bytes(name, Path(path), corrections.MOST_BYTES),
        )

    def _flat(self, name: str, path: Path, prefix: str = "") -> dict[str, Any]:
        return dict(flatten(sections_of(self.read(name, path), f"{name}: {path}"), prefix))

    def _predictions(self, name: str, split: str) -> predictions.Predictions:
        where = f"{name}: {CLASSES[split]}"
        read = predictions.load(io.BytesIO(self.bytes(name, CLASSES[split], MOST_JSON)), where)
        if split == "test" and (read.scores is None or read.scores.brier is None):
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
        elif path.parent == LABELS:
            advice = "params.yaml names it, so it belongs into the same commit"
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


def flat_yaml(content: bytes, where: str) -> dict[str, Any]:
    """Return the settings of a params.yaml by dotted keys.

    A section at a time, each parsed once for all revisions that have it: sweeps change few.

    Raises:
        K49Error: it is no YAML, or no mapping of sections.
    """
    sections = re.split(rb"^(?=[a-z])", content, flags=re.MULTILINE)
    try:
        parts = [parse_section(section) for section in sections]
    except K49Error:
        parts = []
    settings = dict(pair for part in parts for pair in part)
    if not settings or len(settings) < sum(map(len, parts)):  # then the whole says what is wrong
        return dict(flatten(sections_of(parse_yaml(content, where), where)))
    return settings


@lru_cache(maxsize=10_000)
def parse_section(content: bytes) -> tuple[tuple[str, Any], ...]:
    return tuple(flatten(sections_of(parse_yaml(content, "") or {}, "")))


def sections_of(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise K49Error(f"{where}: a list, expected sections and keys")
    return content


def trained_with(lock: str) -> dict[str, str]:
    """Return the hashes of what stage train depended on, by path, from the text of a dvc.lock.

    Parsing its YAML takes 30 ms, as long as reading ten runs.
    """
    stage = re.search(r"^  train:\n((?: {4}.*\n)*)", lock, re.MULTILINE)
    entries = re.findall(
        r"^    - path: (.+)\n(?:      hash: md5\n)?      md5: ([0-9a-f]{32})",
        stage[1] if stage else "",
        re.MULTILINE,
    )
    return dict(entries)


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
