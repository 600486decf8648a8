"""Strange shells, settings of libraries, locales, users, git and DVC: the same bytes, or a line."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.helpers import STAGES, Repo, environment, python_path
from tests.torture.tried import Tried, one_line, tried

LIMIT = 400  # seconds
KERAS_JSON = {
    "floatx": "float16",
    "epsilon": 0.1,
    "backend": "jax",
    "image_data_format": "channels_first",
}
RUN = "set -e; " + "; ".join(f"{sys.executable} -m stages.{stage}" for stage in STAGES)
SHOW = "; k49 predict plots/curves.png > /dev/null; k49 compare > /dev/null; k49 trials > /dev/null"
# As in a container: a user without a name, who is not root
NAMELESS = ("unshare", "--user", "--map-user=12345", "--map-group=12345")


def written(path: Path, content: str) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")
    return path


def of_keras(home: Path) -> dict:
    """A ~/.keras/keras.json for something else."""
    written(home / ".keras/keras.json", json.dumps(KERAS_JSON))
    return {"HOME": home}


def of_dask(home: Path) -> dict:
    """A ~/.config/dask that can't be read."""
    written(home / ".config/dask/a.yaml", "distributed: [nonsense")
    return {"HOME": home}


def of_matplotlib(home: Path) -> dict:
    """A matplotlibrc with odd settings."""
    return {"MATPLOTLIBRC": written(home / "matplotlibrc", "font.size: 3\nbackend: TkAgg\n").parent}


def unwritable(home: Path) -> dict:
    """A home that nobody can write to, not even root."""
    return {"HOME": "/proc/self", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": "", "MPLCONFIGDIR": ""}


VARIABLES: dict[str, dict | Callable[[Path], dict]] = {
    "KERAS_BACKEND=torch": {"KERAS_BACKEND": "torch"},
    "KERAS_BACKEND=jax, unknown XLA_FLAGS": {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--no_such"},
    "keras.json: channels_first, float16": of_keras,
    "MPLBACKEND=TkAgg": {"MPLBACKEND": "TkAgg"},
    "a matplotlibrc": of_matplotlib,
    "DASK_*": {
        "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "nonsense",
        "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "0.0001",
    },
    "~/.config/dask, damaged": of_dask,
    "LC_ALL=C": {"LC_ALL": "C", "LANG": "C"},
    "Latin-1": {"LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
    "COLUMNS=30 NO_COLOR TERM=dumb": {"COLUMNS": "30", "NO_COLOR": "1", "TERM": "dumb"},
    "HOME unset": {"HOME": None},
    "HOME unwritable": unwritable,
    "TMPDIR missing": {"TMPDIR": "/nowhere/at/all"},
    "TMPDIR of 200 characters": lambda home: {"TMPDIR": long_folder(home)},
    "PYTHONWARNINGS=error": {"PYTHONWARNINGS": "error::UserWarning"},
    "PYTHONOPTIMIZE=2": {"PYTHONOPTIMIZE": "2"},
}


def long_folder(home: Path) -> Path:
    """A folder with a name too long for a socket."""
    folder = home / ("x" * 200)
    folder.mkdir(parents=True)
    return folder


def one_processor() -> None:
    """Have one processor."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


PROCESSES: dict[str, Callable[[], object]] = {
    "umask 077": lambda: os.umask(0o077),
    "ulimit -n 256": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
    "one processor": one_processor,
}


def shell(repo: Repo, script: str, env: dict, before: Callable | None = None, within: tuple = ()):
    """Run a script in a repository, by the command `within` if there is one."""
    return subprocess.run(
        [*within, "bash", "-c", script],
        cwd=repo.path,
        env={**env, "PYTHONPATH": python_path(repo.path)},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=LIMIT,
        preexec_fn=before,
    )


def same_or_one_line(
    name: str, done: subprocess.CompletedProcess, repo: Repo, kept: dict, row: Tried
) -> None:
    """Check the bytes of a run that ended well, or that it said why it didn't."""
    said = done.stdout + done.stderr
    row.check("Traceback" not in said, f"{name}: {said[-1500:]}")
    row.check("a bug in k49" not in said, f"{name}: {said[-1500:]}")
    if done.returncode:
        row.check(one_line(done.stderr), f"{name}: {done.returncode} {said[-1500:]}")
        row.notes.append(f"one line: {name}")
        return
    found = repo.contents()
    differ = sorted(name for name in kept if kept[name] != found.get(name))
    row.check(not differ, f"{name}: other bytes: {differ[:5]}")


GIT = {
    "core.autocrlf=true": "git config core.autocrlf true",
    "commit.gpgsign=true": "git config commit.gpgsign true; git config user.signingkey none",
    "core.quotepath=false": "git config core.quotepath false",
    "a detached head": "git checkout -q --detach",
    "a branch with slashes": "git checkout -q -b feature/a/b",
    "a worktree": "git worktree add -q ../tree -b tree; cp -r .dvc/cache ../; cd ../tree; "
    "dvc cache dir --local ../cache; dvc checkout -q",
    "a shallow clone": "git clone -q --depth 1 file://$PWD ../shallow; cp -r .dvc/cache ../; "
    "cd ../shallow; dvc cache dir --local ../cache; dvc checkout -q",
    "a submodule": "git init -q ../outer; cd ../outer; "
    "git -c protocol.file.allow=always submodule --quiet add $OLDPWD inner; "
    "cp -r $OLDPWD/.dvc/cache ../; cd inner; dvc cache dir --local ../../cache; dvc checkout -q",
    "a read-only cache": "dvc config --local cache.type copy; "
    "mkdir ../lock; mount --bind .dvc/cache .dvc/cache; mount -o remount,bind,ro .dvc/cache",
}
USE = (
    "; git config user.name a; git config user.email a@example.invalid"
    "; set -e; PYTHONPATH=$PWD; dvc repro -q; test -z \"$(git status --porcelain)\" || "
    "{ git status --porcelain >&2; exit 7; }"
    "; dvc metrics diff; k49 compare HEAD workspace; k49 report --base HEAD"
)  # fmt: skip
EXPERIMENT = "; dvc exp run -q -S evaluate.seed=1; k49 compare HEAD workspace"
NAMES = ("with spaces", "quotes ' and \"", "[brackets]*?", "日本語", "-dash", "100%", "$HOME;")


def in_git(base: Repo, folder: Path, script: str, row: Tried) -> None:
    """Reproduce, compare and run an experiment there; then let go of what was mounted."""
    repo = base.copy_to(folder)
    runs = "" if "mount" in script else EXPERIMENT  # whose outputs a cache has to take
    done = shell(repo, f"set -e; {script}{USE}{runs}", environment(repo.path))
    subprocess.run(["umount", "--quiet", repo.path / ".dvc/cache"], check=False)
    said = done.stdout + done.stderr
    row.check(done.returncode == 0, f"{script}: {done.returncode} {said[-1500:]}")
    row.check("Traceback" not in said, f"{script}: {said[-1500:]}")
    shutil.rmtree(folder, ignore_errors=True)


def in_subfolder(base: Repo, folder: Path, row: Tried) -> None:
    """The project in a folder of a larger repository, with `dvc init --subdir`."""
    outer = folder / "outer"
    shutil.copytree(base.path, outer / "inner", symlinks=True)
    shutil.rmtree(outer / "inner/.git")
    repo = Repo(outer)
    repo.git("init", "-q")
    script = (
        "git config user.name a; git config user.email a@example.invalid; cd inner; "
        "cache=$(mktemp -d); cp -r .dvc/cache $cache; rm -rf .dvc; dvc init -q --subdir; "
        "cp -r $cache/cache .dvc/; git add -A; git commit -qm all"
    )
    done = shell(repo, f"set -e; {script}{USE}{EXPERIMENT}", environment(repo.path))
    row.check(done.returncode == 0, f"{done.returncode} {(done.stdout + done.stderr)[-1500:]}")


def two_checkouts(base: Repo, folder: Path, row: Tried) -> None:
    """Two checkouts that share a cache and reproduce at once."""
    repos = [base.copy_to(folder / name) for name in "ab"]
    for repo in repos:
        repo.dvc("cache", "dir", "--local", str(folder / "cache"))
    script = "dvc repro -q --force"
    running = [
        subprocess.Popen(
            ["bash", "-c", script], cwd=repo.path, env=environment(repo.path, warm=False)
        )
        for repo in repos
    ]
    row.check([each.wait(LIMIT) for each in running] == [0, 0], "one of them failed")
    row.check(repos[0].contents() == base.contents() == repos[1].contents(), "other bytes")


def in_environment(base: Repo, folder: Path, case: tuple, row: Tried) -> None:
    """Run every stage and command there."""
    name, env, before, within = case
    place = folder / str(abs(hash(name)))
    repo = base.copy_to(place)
    shutil.rmtree(repo.path / "data/search")
    changed = env(place / "home") if callable(env) else env
    whole = {**environment(repo.path, warm=False), **changed}
    whole = {key: str(value) for key, value in whole.items() if value is not None}
    done = shell(repo, RUN + SHOW, whole, before, within)
    same_or_one_line(name, done, repo, base.contents(), row)
    shutil.rmtree(place, ignore_errors=True)


def section(base: Repo, folder: Path) -> Iterator[Tried]:
    """All of them, two at once."""
    environments = [(name, env, None, ()) for name, env in VARIABLES.items()]
    environments += [(name, {}, before, ()) for name, before in PROCESSES.items()]
    nameless = {"USER": None, "LOGNAME": None, "HOME": "/"}
    environments.append(("no root, no name", nameless, None, NAMELESS))
    cases = {case[0]: partial(in_environment, base, folder, case) for case in environments}
    yield tried("environments", "variables, settings of libraries, users, limits", cases, at_once=2)
    cases = {
        name: partial(in_git, base, folder / f"git{i}", script)
        for i, (name, script) in enumerate(GIT.items())
    }
    cases["dvc init --subdir"] = partial(in_subfolder, base, folder / "sub")
    cases["two checkouts at once"] = partial(two_checkouts, base, folder / "two")
    yield tried("environments", "git and DVC", cases, at_once=2)
    cases = {name: partial(in_git, base, folder / "paths" / name, "true") for name in NAMES}
    yield tried("environments", "paths with spaces, quotes, brackets, Japanese", cases, at_once=2)
