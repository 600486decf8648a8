"""Arrays in files: what is read, and what is refused without harm."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from k49.data.arrays import File, open_array
from k49.data.images import image_chunks, read_labels, size_of
from k49.errors import K49Error

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
LABELS = np.arange(39, 49, dtype=np.uint8)
SAVES = {"stored": np.savez, "packed": np.savez_compressed}


def images_in(path: Path) -> np.ndarray:
    """Images of 28 x 28 as stage fetch reads them; of an npz, those called arr_0."""
    with open_array(File(path, str(path)), "arr_0") as array:
        return np.concatenate(list(image_chunks(array, size_of(array, (28, 28)))))


def labels_in(path: Path) -> np.ndarray:
    """Labels, likewise."""
    with open_array(File(path, str(path)), "arr_0") as array:
        return read_labels(array)


def refusal(read, path: Path) -> str:
    """The text of a refusal: one line that names the file."""
    with pytest.raises(K49Error) as caught:
        read(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert str(path) in text
    return text


def npz(array=IMAGES, save=np.savez, **named) -> bytes:
    file = io.BytesIO()
    save(file, *([] if named else [array]), **named)
    return file.getvalue()


def archive(member: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("arr_0.npy", member)
    return file.getvalue()


def npy(header: str, content: bytes = bytes(784), version: bytes = b"\x01\x00") -> bytes:
    """An .npy stream with a header of one's own."""
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header.encode() + content


def claim(*shape: float, content: bytes = bytes(784), version: bytes = b"\x01\x00") -> bytes:
    """An npz of an array whose header claims a shape."""
    header = str({"descr": "|u1", "fortran_order": False, "shape": shape}) + "\n"
    return archive(npy(header, content, version))


def overwritten(save) -> bytes:
    """The same length, the whole directory, but the data are not what was written."""
    content = bytearray(npz(IMAGES // 64, save))  # compressible
    content[1000:1100] = bytes(100)
    return bytes(content)


def encrypted() -> bytes:
    content = bytearray(npz())
    content[6] |= 1  # flag in the member's header
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # and in the directory
    return bytes(content)


BAD = {
    "empty": (b"", "not a readable npz"),
    "text": (b"not a zip", "not a readable npz"),
    "nearly": (b"PK\x03\x04 nearly a zip", "not a readable npz"),
    "zeros": (bytes(5000), "not a readable npz"),
    **{
        f"{how}, cut off at {share}": (npz(save=save)[: int(len(npz(save=save)) * share)], "")
        for how, save in SAVES.items()
        for share in (0.01, 0.5, 0.99)
    },
    **{f"{how}, overwritten": (overwritten(save), "") for how, save in SAVES.items()},
    "encrypted": (encrypted(), ""),
    "other name": (npz(images=IMAGES), "arr_0"),
    "no array": (archive(b"hello"), ""),
    "nothing": (archive(b""), ""),
    "no rows": (npz(IMAGES[:0]), "is empty"),
    "Fortran": (npz(np.asfortranarray(IMAGES)), "Fortran"),
    **{
        f"shape {shape}": (npz(np.zeros(shape, np.uint8)), str(shape))
        for shape in [(10, 783), (10, 28, 28, 2), (28, 28), (10, 1, 1), (7840,)]
    },
    **{
        f"claims {n}": (claim(n, 28, 28), str(n)) for n in (10**12, 10**30, 10_000_001, -1)
    },  # what is impossible; and more, or less, than there is
    **{f"claims {n}": (claim(n, 28, 28), f"784 bytes.*{n}") for n in (2, 10_000_000)},
    "holds more": (claim(1, 28, 28, content=bytes(2 * 784)), "more data"),
    "version 7": (archive(npy("{}").replace(b"Y\x01", b"Y\x07", 1)), "version"),
    **{
        f"header {header[:60]}": (archive(npy(header)), "")
        for header in (
            "",
            "{}",
            "3",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 28, 28)",  # never closed
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 28, 28), 'more': 1}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1.0, 28, 28)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': __import__('os')}",
            "{'descr': 'nonsense', 'fortran_order': False, 'shape': (1, 28, 28)}",
            " " * 20_000 + "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 28, 28)}",
        )
    },
}


@pytest.mark.parametrize("bad", BAD)
def test_refused_in_one_line(tmp_path, bad):
    content, says = BAD[bad]
    path = tmp_path / "images.npz"
    path.write_bytes(content)
    text = refusal(images_in, path)
    assert all(part in text for part in says.split(".*"))


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_reads_what_numpy_wrote(tmp_path, save):
    path = tmp_path / "array.npz"
    for read, array in ((images_in, IMAGES), (labels_in, LABELS)):
        save(path, array)
        found = read(path)
        assert found.dtype == np.uint8
        assert np.array_equal(found, array)
    save(path, LABELS[:0])
    assert "is empty" in refusal(labels_in, path)


def test_reads_format_version_2(tmp_path):
    path = tmp_path / "v2.npz"
    path.write_bytes(claim(1, 28, 28, version=b"\x02\x00"))
    assert images_in(path).shape == (1, 28, 28)


def test_missing_file_and_folder(tmp_path):
    assert "not found" in refusal(images_in, tmp_path / "none.npz")
    refusal(images_in, tmp_path)


class CreatesFile:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("read", [images_in, labels_in])
def test_pickle_is_never_run(tmp_path, read):
    trap, path = tmp_path / "was unpickled", tmp_path / "objects.npz"
    pickled = npz(np.array([CreatesFile(trap)], dtype=object))
    path.write_bytes(pickled)
    assert "object" in refusal(read, path)
    path.write_bytes(claim(1, 28, 28, content=pickled[-200:]))  # that claims to be images
    refusal(images_in, path)
    assert not trap.exists()
    path.write_bytes(pickled)
    np.load(path, allow_pickle=True)["arr_0"]  # the trap is a real one
    assert trap.exists()
