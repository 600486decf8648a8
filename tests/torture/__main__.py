"""`make torture`: everything that may go wrong, by machine; half an hour on two cores.

`python -m tests.torture [SECTION ...]`. All sections together write their table into
docs/reliability.md; a fault is printed, and the exit status is 1.
"""

import importlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
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


def table(rows: list[Tried], seconds: float) -> str:
    """Return the table of a whole torture, and where and when it was."""
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    where = f"Python {platform.python_version()}, {os.cpu_count()} processors"
    lines = [
        f"Commit {commit.strip()}, {datetime.now(UTC):%Y-%m-%d}, {where}, "
        f"{seconds / 60:.0f} minutes; "
        f"{sum(row.tries for row in rows):,} tries, {sum(len(row.faults) for row in rows)} faults.",
        "",
        "| section | what | tries | faults |",
        "| --- | --- | --- | --- |",
        *(f"| {row.section} | {row.what} | {row.tries:,} | {len(row.faults)} |" for row in rows),
    ]
    return "\n".join(lines)


def main() -> int:
    """Run sections; return the exit status."""
    names = sys.argv[1:] or SECTIONS
    os.environ["NO_PROXY"] = "127.0.0.1"
    begun, rows = time.monotonic(), list[Tried]()
    with tempfile.TemporaryDirectory(prefix="k49-torture-") as place:
        base = reproduce(Path(place, "base")) if NEEDS_BASE & set(names) else None
        for name in names:
            folder = Path(place, name)
            folder.mkdir()
            for row in importlib.import_module(f"tests.torture.{name}").section(base, folder):
                rows.append(row)
                print(
                    f"{(time.monotonic() - begun) / 60:5.1f} min  {row.section}: {row.what}: "
                    f"{row.tries} tries, {len(row.faults)} faults, {row.seconds:.0f} s",
                    *(f"    {fault}" for fault in row.faults),
                    sep="\n",
                    flush=True,
                )
    if tuple(names) == SECTIONS:
        text = table(rows, time.monotonic() - begun)
        page = PAGE.read_text("utf-8")
        marks = r"(?s)(<!-- torture -->\n).*(\n<!-- end -->)"
        PAGE.write_text(re.sub(marks, lambda found: found[1] + text + found[2], page), "utf-8")
    return 1 if any(row.faults for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
