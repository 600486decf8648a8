"""Versions of all that a trial's result depends on, found without importing any of it."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from platform import python_version

from k49.files import hash_of

LIBRARIES = ("k49", "keras", "keras-tuner", "numpy", "scikit-learn", "scipy")
TENSORFLOW = ("tensorflow", "tensorflow-cpu")  # whichever is installed: one module, two packages
TRAINING = Path(__file__).parents[1] / "training"
OWN_NETWORKS = Path("networks")  # of the user, where the search or its worker runs


def installed(*names: str) -> str:
    """Return the version of the first of these packages that is installed; `none` without any."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "none"


@cache
def versions_and_code() -> dict[str, str]:
    """Return the versions of Python and the libraries, and a hash of the code that trains.

    Checkouts of two codes may share a version. Found once in a process: workers that are threads of
    one ask for it one by one.
    """
    found = {name: installed(name) for name in LIBRARIES}
    sources = (*sorted(TRAINING.rglob("*.py")), *sorted(OWN_NETWORKS.rglob("*.py")))
    return {
        "python": python_version(),
        **found,
        "tensorflow": installed(*TENSORFLOW),
        "k49/training": hash_of(sources),
    }


def network_source(name: str) -> str:
    """Return a hash of the file of a network that a space names as `package.module:name`.

    Of those in the folder `networks` `versions_and_code` has it; "" where there is no such file.
    """
    module, _, attribute = name.partition(":")
    try:
        spec = find_spec(module) if attribute else None
    except (ImportError, ValueError):  # which is said where the network is built
        return ""
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return ""
    return hash_of([Path(spec.origin)])
