"""`make torture`: kills, damaged files, full disks, servers that lie; 20 minutes.

`python -m tests.torture [SECTION ...]` writes each section's rows into docs/reliability.md; a fault
is printed, and the exit status is 1.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests import warm
from tests.helpers import ROOT, Repo, python_path, reproduce
from tests.torture.tried import Tried

SECTIONS = ("kills", "fuzz", "disk", "network")  # the longest first
PAGE = ROOT / "docs/reliability.md"
NEEDS_BASE = {"kills", "disk"}


def commit() -> str:
    """Return the commit that is checked out, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def line(row: Tried, sha: str) -> str:
    """Return a row of the page's table."""
    cells = (
        row.section,
        row.title,
        f"{row.tries:,}",
        str(len(row.faults)),
        f"{row.seconds:.0f}",
        sha,
    )
    return f"| {' | '.join(cells)} |"


def update(page: str, section: str, lines: list[str]) -> str:
    """Return the page with a section's lines in the place of its former ones."""
    head, start, rest = page.partition("<!-- torture -->\n")
    table, end, tail = rest.partition("<!-- end -->")
    kept = [old for old in table.splitlines() if old.startswith("| ") and old[2] != "-"][1:]
    kept = [old for old in kept if not old.startswith(f"| {section} |")] + lines
    kept.sort(key=lambda old: SECTIONS.index(old.split(" | ")[0].removeprefix("| ")))
    header = ["| section | what | tries | faults | seconds | commit |", "| --- " * 6 + "|"]
    return head + start + "\n".join(header + kept) + "\n" + end + tail


def run(name: str, base: Repo | None, folder: Path) -> list[Tried]:
    """Run a section in a folder of its own, and print its rows."""
    folder.mkdir()
    rows = []
    for row in importlib.import_module(f"tests.torture.{name}").section(base, folder):
        said = f"{row.section}: {row.title}: {row.tries} tries, {len(row.faults)} faults"
        print("\n    ".join([f"{said}, {row.seconds:.0f} s", *row.faults]), flush=True)
        rows.append(row)
    return rows


def main() -> int:
    """Run sections, two at once; return the exit status."""
    names = sys.argv[1:] or SECTIONS
    os.environ["NO_PROXY"] = "127.0.0.1"
    sha, begun, faults = commit(), time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="k49-torture-") as temporary:
        place = Path(temporary)
        os.environ["K49_WARM"] = str(place / "bin")  # for what only puts things in order again
        os.environ["PYTHONPATH"] = python_path(ROOT, warm.SITE)
        warm.start(place / "bin")
        base = reproduce(place / "base") if NEEDS_BASE & set(names) else None
        with ThreadPoolExecutor(2) as pool:
            running = {pool.submit(run, name, base, place / name): name for name in names}
            for ended in as_completed(running):
                rows = ended.result()
                faults += sum(len(row.faults) for row in rows)
                page = PAGE.read_text("utf-8")
                page = update(page, running[ended], [line(row, sha) for row in rows])
                PAGE.write_text(page, "utf-8")
    print(f"{faults} faults in {(time.monotonic() - begun) / 60:.1f} minutes")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
