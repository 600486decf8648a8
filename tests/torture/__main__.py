"""`make torture`: everything that may go wrong, by machine; half an hour on two cores.

`python -m tests.torture [SECTION ...]` writes each section's rows into docs/reliability.md; a fault
is printed, and the exit status is 1.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers import ROOT, reproduce
from tests.torture.tried import Tried

SECTIONS = (
    "newcomer",
    "fuzz",
    "network",
    "search",
    "memory",
    "disk",
    "load",
    "environments",
    "kills",
)
PAGE = ROOT / "docs/reliability.md"
NEEDS_BASE = {"newcomer", "memory", "disk", "load", "environments", "kills"}


def commit() -> str:
    """Return the commit that is checked out, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def line(row: Tried, sha: str) -> str:
    """Return a row of the page's table."""
    cells = row.section, row.what, f"{row.tries:,}", str(len(row.faults)), f"{row.seconds:.0f}", sha
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


def main() -> int:
    """Run sections; return the exit status."""
    names = sys.argv[1:] or SECTIONS
    os.environ["NO_PROXY"] = "127.0.0.1"
    sha, begun, faults = commit(), time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="k49-torture-") as place:
        base = reproduce(Path(place, "base")) if NEEDS_BASE & set(names) else None
        for name in names:
            folder, lines = Path(place, name), []
            folder.mkdir()
            for row in importlib.import_module(f"tests.torture.{name}").section(base, folder):
                faults += len(row.faults)
                lines.append(line(row, sha))
                print(
                    f"{(time.monotonic() - begun) / 60:5.1f} min  {row.section}: {row.what}: "
                    f"{row.tries} tries, {len(row.faults)} faults, {row.seconds:.0f} s",
                    *(f"    {fault}" for fault in row.faults),
                    sep="\n",
                    flush=True,
                )
            PAGE.write_text(update(PAGE.read_text("utf-8"), name, lines), "utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
