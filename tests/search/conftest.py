"""Small data, and what a search on it finds when nothing disturbs it."""

import pytest

from k49.search.search import search
from tests.helpers import bars
from tests.search.small import config


@pytest.fixture(scope="session")
def train():
    return bars(8, seed=0)


@pytest.fixture(scope="session")
def val():
    return bars(2, seed=1)


@pytest.fixture(scope="session")
def uninterrupted(train, val, tmp_path_factory):
    """The result of a search that nothing disturbed."""
    return search(config(), train, val, tmp_path_factory.mktemp("search"))
