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


def images_in(path: Path) -> np.ndarray:
    """Images of 28 x 28 as stage fetch reads them; of an npz, those called arr_0."""
    with open_array(File(path, str(path)), "arr_0") as array:
        return np.concatenate(list(image_chunks(array, size_of(array, (28, 28)))))


def labels_in(path: Path) -> np.ndarray:
    """Labels, likewise."""
    with open_array(File(path, str(path)), "arr_0") as array:
        return read_labels(array)


class CreatesFile:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refusal(read, *paths: Path) -> str:
    """The text of a refusal: one line that names the first file."""
    with pytest.raises(K49Error) as caught:
        read(*paths)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert str(paths[0]) in text
    return text


def saved(path: Path, array: np.ndarray, save=np.savez) -> Path:
    save(path, array)
    return path


def archive(path: Path, member: bytes, name: str = "arr_0.npy") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, member)
    return path


def npy(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An .npy stream with a header of one's own."""
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header.encode() + content


def claim(shape: tuple, content: bytes = bytes(784), order: bool = False) -> bytes:
    return npy(str({"descr": "|u1", "fortran_order": order, "shape": shape}) + "\n", content)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_wrote(tmp_path, save):
    images = saved(tmp_path / "images.npz", IMAGES, save)
    labels = saved(tmp_path / "labels.npz", LABELS, save)
    x, y = images_in(images), labels_in(labels)
    assert x.dtype == y.dtype == np.uint8
    assert np.array_equal(x, IMAGES)
    assert np.array_equal(y, LABELS)


def test_reads_format_version_2(tmp_path):
    header = str({"descr": "|u1", "fortran_order": False, "shape": (1, 28, 28)}) + "\n"
    path = archive(tmp_path / "v2.npz", npy(header, bytes(784), b"\x02\x00"))
    assert images_in(path).shape == (1, 28, 28)


def test_missing_file(tmp_path):
    assert "not found" in refusal(images_in, tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 nearly a zip", bytes(5000)])
def test_not_a_zip(tmp_path, content):
    path = tmp_path / "text.npz"
    path.write_bytes(content)
    assert "not a readable npz" in refusal(images_in, path)


def test_folder(tmp_path):
    refusal(images_in, tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_cut_off(tmp_path, save, share):
    path = saved(tmp_path / "cut.npz", IMAGES, save)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refusal(images_in, path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_in_the_middle(tmp_path, save):
    """Same length, whole directory, but the data are not what was written."""
    path = saved(tmp_path / "damaged.npz", IMAGES // 64, save)  # compressible
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    refusal(images_in, path)


def test_missing_member(tmp_path):
    path = tmp_path / "named.npz"
    np.savez(path, images=IMAGES)
    assert "arr_0" in refusal(images_in, path)


def test_member_that_is_no_array(tmp_path):
    refusal(images_in, archive(tmp_path / "text.npz", b"hello"))


def test_empty_member(tmp_path):
    refusal(images_in, archive(tmp_path / "empty.npz", b""))


@pytest.mark.parametrize("read", [images_in, labels_in])
def test_pickle_is_never_run(tmp_path, read):
    trap = tmp_path / "was unpickled"
    objects = np.array([CreatesFile(trap)], dtype=object)
    path = saved(tmp_path / "objects.npz", objects)
    assert "object" in refusal(read, path)
    assert not trap.exists()
    np.load(path, allow_pickle=True)["arr_0"]  # the trap is a real one
    assert trap.exists()


def test_pickle_that_claims_to_be_images(tmp_path):
    trap = tmp_path / "was unpickled"
    pickled = io.BytesIO()
    np.save(pickled, np.array([CreatesFile(trap)], dtype=object))
    tail = pickled.getvalue()[-200:]
    refusal(images_in, archive(tmp_path / "objects.npz", claim((1, 28, 28), tail)))
    assert not trap.exists()


@pytest.mark.parametrize("shape", [(10, 783), (10, 28, 28, 2), (28, 28), (10, 1, 1), (7840,)])
def test_wrong_image_shape(tmp_path, shape):
    path = saved(tmp_path / "images.npz", np.zeros(shape, np.uint8))
    assert str(shape) in refusal(images_in, path)


def test_empty(tmp_path):
    refusal(images_in, saved(tmp_path / "images.npz", IMAGES[:0]))
    refusal(labels_in, saved(tmp_path / "labels.npz", LABELS[:0]))


@pytest.mark.parametrize("number", [10**12, 10**30, 10_000_001, -1])
def test_header_claims_the_impossible(tmp_path, number):
    path = archive(tmp_path / "claim.npz", claim((number, 28, 28)))
    assert str(number) in refusal(images_in, path)


@pytest.mark.parametrize("number", [2, 10_000_000])
def test_header_claims_more_than_there_is(tmp_path, number):
    path = archive(tmp_path / "claim.npz", claim((number, 28, 28)))
    text = refusal(images_in, path)
    assert "784" in text
    assert str(number) in text


def test_header_claims_less_than_there_is(tmp_path):
    path = archive(tmp_path / "claim.npz", claim((1, 28, 28), bytes(2 * 784)))
    refusal(images_in, path)


def test_fortran_order(tmp_path):
    path = saved(tmp_path / "fortran.npz", np.asfortranarray(IMAGES))
    assert "Fortran" in refusal(images_in, path)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "{}",
        "3",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 28, 28)",  # never closed
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 28, 28), 'more': 1}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1.0, 28, 28)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': __import__('os')}",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (1, 28, 28)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 28, 28)}" + " " * 20_000,
    ],
)
def test_faulty_header(tmp_path, header):
    refusal(images_in, archive(tmp_path / "header.npz", npy(header, bytes(784))))


def test_unknown_format_version(tmp_path):
    member = claim((1, 28, 28)).replace(b"NUMPY\x01", b"NUMPY\x07", 1)
    assert "version" in refusal(images_in, archive(tmp_path / "v7.npz", member))


def test_encrypted(tmp_path):
    path = saved(tmp_path / "secret.npz", IMAGES)
    content = bytearray(path.read_bytes())
    content[6] |= 1  # flag in the member's header
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(content)
    refusal(images_in, path)
