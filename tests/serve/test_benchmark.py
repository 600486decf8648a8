"""`benchmarks.serving`: what its client measures, and how it is told."""

import asyncio

from benchmarks import serving
from tests.helpers import ink


def test_client_measures_a_server(model, monkeypatch, tmp_path):
    monkeypatch.setattr(serving, "SECONDS", 0.3)
    (tmp_path / "models").symlink_to(model.parent)
    asked = [serving.request(255 - ink(28, 28), "png")] * 2
    command, known = serving.WAYS[serving.OURS]
    found = asyncio.run(serving.measured(tmp_path, command, known, asked))
    assert len(found["read"]) == 2
    assert found["a_second"] > 1
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    assert 0 < found["start_s"] < 60
    rows = [
        {"data": "bars", "way": way, **found, "a_second": rate, "as_ours": 1.0}
        for way, rate in ((serving.OURS, 600.0), (serving.PEER, 200.0))
    ]
    table = serving.table(rows)
    assert "| kuzushiji-49-inference-server's way | bars | 200 | 3.0 times |" in table
    assert table.count("\n| ") == 3
