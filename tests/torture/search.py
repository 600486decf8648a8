"""The search disturbed: workers killed, cut off, late; two at once; ports. As the tests have it."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.helpers import ROOT
from tests.torture.tried import Tried

FILES = ("test_interrupted.py", "test_cluster.py", "test_two_machines.py", "test_search.py")


def section(_, folder: Path) -> Iterator[Tried]:
    """Run the tests of the search."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", *(f"tests/search/{name}" for name in FILES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed", done.stdout)
    row = Tried("search", "tests/search", int(passed[1]) if passed else 0)
    row.check(done.returncode == 0, done.stdout[-3000:])
    row.seconds = time.monotonic() - begun
    yield row
