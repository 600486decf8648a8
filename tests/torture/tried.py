"""What a section of the torture tried, and what came of it."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

SEED = 49


@dataclass
class Tried:
    """One row of the table in docs/reliability.md."""

    section: str
    what: str
    tries: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    outcomes: list[str] = field(default_factory=list)  # one for each try, to be counted
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What was tried, and in brackets how often it ended how, and notes."""
        counted = [f"{n} {outcome}" for outcome, n in sorted(Counter(self.outcomes).items())]
        came = ", ".join(counted + self.notes)
        return f"{self.what} ({came})" if came else self.what

    def check(self, holds: object, fault: str) -> None:
        """Note a fault unless something holds."""
        if not holds:
            self.faults.append(fault)

    def answered(self, name: str, said: str, status: int, expected: tuple[int, str]) -> None:
        """Note a fault unless a command ended and said as expected, without a traceback."""
        expected_status, says = expected
        self.check(status == expected_status, f"{name}: status {status}: {said[-900:]}")
        self.check(says in said, f"{name}: doesn't say {says}: {said[-900:]}")
        self.check("Traceback" not in said, f"{name}: {said[-900:]}")


def tried(
    section: str, what: str, cases: dict[str, Callable[[Tried], None]], at_once: int = 1
) -> Tried:
    """Run cases by their names, several at once; what they raise is a fault."""
    row = Tried(section, what, len(cases))
    begun = time.monotonic()

    def run(name: str) -> None:
        try:
            cases[name](row)
        except Exception as error:
            row.faults.append(f"{name}: {type(error).__name__}: {error}"[:2000])

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(run, cases))
    row.seconds = time.monotonic() - begun
    return row


def rng(*key: object) -> random.Random:
    """Return random numbers that are the same each time for the same key."""
    return random.Random(" ".join(map(str, (SEED, *key))))


def one_line(text: str) -> bool:
    """Return whether a program's errors are a line or a few, and no traceback."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "Traceback" not in text and 1 <= len(lines) <= 12
