"""Files are whole or not there, and hold what other programs can read."""

import pytest

from k49.io import write_json, write_text


def test_nan_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", {"test_accuracy": float("nan")})
    assert not list(tmp_path.iterdir())


def test_who_reads_while_it_is_written_reads_the_old_file(tmp_path):
    path = tmp_path / "report.md"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
