"""Few images are measured: it takes longer than all else that most of these tests do."""

import pytest

from k49.data import fetch


@pytest.fixture(autouse=True)
def few_measured(monkeypatch):
    monkeypatch.setattr(fetch, "MEASURED", 3)
