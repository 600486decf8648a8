"""What the five files are called: by what they are, wherever they came from."""

import shutil

import numpy as np
import pytest

from k49.data import classes, published
from k49.data.published import Checksum, dataset_name, md5


@pytest.fixture
def folder(tmp_path):
    """A folder with five files."""
    folder = tmp_path / "old-books"
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        np.savez(folder / f"k49-{split}-imgs.npz", rng.integers(0, 256, (9, 28, 28), np.uint8))
        np.savez(folder / f"k49-{split}-labels.npz", np.arange(9, dtype=np.uint8))
    (folder / "k49_classmap.csv").write_text(classes.classmap_csv(), "utf-8")
    return folder


def digest(name: str) -> str:
    return name.rpartition("(")[2].rstrip(")")


def test_standin(folder):
    assert dataset_name("standin", folder) == "stand-in (drawn, not K49)"


@pytest.mark.parametrize("source", ["k49", "a/folder", "https://somebody:secret@example.org/k49"])
def test_k49_is_k49_wherever_it_comes_from(folder, monkeypatch, source):
    """Was: a verified copy of K49 in a folder was called "mirror /a/folder"."""
    assert dataset_name(source, folder) != "Kuzushiji-49"
    pins = {name: Checksum(md5(folder / name)) for name in published.K49_FILES}
    monkeypatch.setattr(published, "K49_FILES", pins)
    assert dataset_name(source, folder) == "Kuzushiji-49"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/home/somebody/old-books", "old-books"),
        ("/home/somebody/old-books/", "old-books"),
        ("../old-books", "old-books"),
        ("~/old-books", "old-books"),
        ("https://somebody:secret@example.org:8080/private/k49?token=1", "example.org"),
    ],
)
def test_last_name_and_digest_and_no_more(folder, source, name):
    found = dataset_name(source, folder)
    assert found == f"{name} ({digest(found)})"
    assert len(bytes.fromhex(digest(found))) == 4


def test_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert dataset_name(".", folder).startswith("old-books (")


def test_digest_is_of_the_contents(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "again")
    names = [dataset_name(str(each), each) for each in (folder, tmp_path / "again")]
    assert digest(names[0]) == digest(names[1])
    np.savez(folder / "k49-test-labels.npz", np.zeros(9, np.uint8))
    assert digest(dataset_name(str(folder), folder)) != digest(names[0])
