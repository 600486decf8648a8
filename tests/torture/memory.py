"""Too little memory for it: each stage and command says in a line what to lower."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.helpers import Repo
from tests.torture.disk import commands, ending, run
from tests.torture.tried import Tried, tried

LIMITS = (120, 160, 250, 400, 600, 1500)  # MiB; importing NumPy alone takes 60
VERSION_1, VERSION_2 = Path("/sys/fs/cgroup/memory/k49"), Path("/sys/fs/cgroup/k49")


@contextmanager
def cgroup() -> Iterator[tuple[Path, Path] | None]:
    """Make a control group; give its folder, and the file with its limit. It takes root."""
    made = None
    for folder, file in (
        (VERSION_1, "memory.limit_in_bytes"),
        (VERSION_2, "memory.max"),
    ):
        with suppress(OSError):
            if folder.parent.is_dir() and made is None:
                folder.mkdir(exist_ok=True)
                made = (folder, folder / file) if (folder / file).exists() else None
    try:
        yield made
    finally:
        if made:
            made[0].rmdir()


def section(base: Repo, folder: Path) -> Iterator[Tried]:
    """Each stage and command in a control group with little memory."""
    repo = base.copy_to(folder)
    with cgroup() as made:
        if made is None:
            yield Tried("memory", "limits", 0, ["left out: control groups take root"])
            return
        group, file = made

        def case(row, mib, command):
            file.write_text(str(mib << 20))
            enter = lambda: (group / "cgroup.procs").write_text(str(os.getpid()))  # noqa: E731
            done = run(repo, command, enter)
            row.outcomes.append(ending(done))
            if done.returncode:
                said = done.stdout + done.stderr
                last = said.strip().splitlines()[-1] if said.strip() else ""
                row.check("memory" in last, f"{mib} MiB: {done.returncode} {said[-1500:]}")
                row.check("Traceback" not in said, f"{mib} MiB: {said[-1500:]}")

        for name, command in commands().items():
            cases = {str(mib): partial(case, mib=mib, command=command) for mib in LIMITS}
            yield tried("memory", name, cases)
