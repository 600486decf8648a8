"""What datasets are called: by what they are, wherever they came from."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from k49.data import descriptions, raw
from k49.data.fetch import fetch
from k49.errors import K49Error
from k49.io import write_yaml
from tests.helpers import CHARACTERS, DATA, STANDIN, class_map


@pytest.fixture
def folder(tmp_path):
    """A folder with five files."""
    folder = tmp_path / "old-books"
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        np.savez(folder / f"k49-{split}-imgs.npz", rng.integers(0, 200, (9, 28, 28), np.uint8))
        np.savez(folder / f"k49-{split}-labels.npz", np.arange(9, dtype=np.uint8))
    (folder / "k49_classmap.csv").write_text(class_map(CHARACTERS), "utf-8")
    return folder


def info(source: str | Path, tmp_path: Path, **changes) -> raw.DatasetInfo:
    """What is known of a dataset once it is fetched."""
    data = DATA.model_copy(update={"source": str(source), **changes})
    fetch(data, STANDIN, tmp_path / "raw", tmp_path / "downloads", tmp_path / "own")
    return raw.read_info(tmp_path / "raw")


def pinned(folder: Path, tmp_path: Path, **more) -> None:
    """A description called `mine` of the files in a folder."""
    sums = {
        path.name: {"md5": hashlib.md5(path.read_bytes()).hexdigest()} for path in folder.iterdir()
    }
    content = {"title": "Old books", "mirrors": [str(folder)], "files": sums, **more}
    write_yaml(tmp_path / "own" / "mine.yaml", content)


def digest(name: str) -> str:
    return name.rpartition("(")[2].rstrip(")")


def test_standin(tmp_path):
    found = info("standin", tmp_path)
    assert found.name == "stand-in (drawn, not K49)"
    assert found.classes == CHARACTERS
    assert "can't read real Kuzushiji" in found.warning
    assert "KanjiVG" in found.licence


def test_described_files_are_what_they_are_wherever_they_come_from(folder, tmp_path):
    """Was: a verified copy of K49 in a folder was called "mirror /a/folder"."""
    assert info(folder, tmp_path).name != "Old books"
    pinned(folder, tmp_path, licence="CC BY 4.0", citation="Me (2026)", classes=list("abcdefghij"))
    for source in (folder, "mine"):
        found = info(source, tmp_path)
        assert found.name == "Old books"
        assert found.licence == "Me (2026), CC BY 4.0"
        assert found.classes == list("abcdefghij")
    changed = info("mine", tmp_path, transpose=True).name
    assert changed == f"Old books ({digest(changed)})"


@pytest.mark.parametrize("name", ["k49", "kmnist", "standin"])
def test_packaged_descriptions(name):
    found = descriptions.packaged(name)
    assert found.image_size == [28, 28]
    assert found.licence
    assert len(found.classes) == {"k49": 49, "kmnist": 10, "standin": 0}[name]


def test_k49_as_published():
    k49 = descriptions.packaged("k49")
    assert sum(each.size for each in k49.files.values()) == 77_281_529
    published = class_map(CHARACTERS).encode()
    assert k49.files["k49_classmap.csv"].md5 == hashlib.md5(published).hexdigest()
    assert k49.files["k49_classmap.csv"].size == len(published)


@pytest.mark.parametrize("name", ["old-books", "old-books/", "../old-books", "~/old-books"])
def test_last_name_and_digest_and_no_more(folder, tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path if name.startswith("old") else tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    found = info(name, tmp_path).name
    assert found == f"old-books ({digest(found)})"
    assert len(bytes.fromhex(digest(found))) == 4


def test_here(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    assert info(".", tmp_path).name.startswith("old-books (")


def test_digest_is_of_the_contents(folder, tmp_path):
    first = digest(info(folder, tmp_path).name)
    packed = {}
    for split, letter in (("train", "train"), ("test", "test")):
        packed[f"x_{letter}"] = np.load(folder / f"k49-{split}-imgs.npz")["arr_0"]
        packed[f"y_{letter}"] = np.load(folder / f"k49-{split}-labels.npz")["arr_0"]
    assert digest(info(folder.rename(tmp_path / "again"), tmp_path).name) == first
    np.savez(tmp_path / "again" / "k49-test-labels.npz", np.arange(9, dtype=np.uint8)[::-1])
    assert digest(info(tmp_path / "again", tmp_path).name) != first


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "title: missing"),
        ({"title": "a", "sources": []}, "sources: unknown key, known here: title, mirrors, files"),
        ({"title": "a", "image_size": [28]}, "image_size"),
        ({"title": "a", "image_size": [28, 65]}, "less than or equal to 64"),
        ({"title": "a", "classes": "aab"}, "'a' names two classes"),
        ({"title": "a", "classes": ["a\nb", "c"]}, "no name of a class"),
        ({"title": "a", "files": {"../k49": {"md5": "0" * 32}}}, "without a folder"),
        ({"title": "a", "files": {"a.npz": {"md5": "0"}}}, "files.a.npz.md5"),
        ({"title": "a"}, "data.mirrors: empty"),
        ({"title": "a", "mirrors": ["b", "c"]}, "2 mirrors and no files with MD5 sums"),
    ],
)
def test_faulty_description(tmp_path, content, says):
    write_yaml(tmp_path / "own" / "mine.yaml", content)
    with pytest.raises(K49Error) as caught:
        info("mine", tmp_path)
    assert says in str(caught.value)
    assert "mine" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
