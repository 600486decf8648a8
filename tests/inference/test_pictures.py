"""Picture files and arrays: all kinds give the same image, and what is none is refused."""

import struct
import sys
import warnings
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from k49.errors import K49Error
from k49.inference import predict as pictures
from k49.inference.predict import stack
from k49.pictures.characters import characters
from k49.pictures.files import UploadedPicture, to_array
from k49.pictures.single import read_single
from tests.helpers import info_of, ink, saved

ARRAY = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)


def coloured(values: np.ndarray, mode: str) -> Image.Image:
    """A picture of grey `values` (0 to 255) in some mode of Pillow."""
    if mode == "I;16":
        return Image.fromarray(values.astype(np.uint16) * 257)
    if mode == "I":
        return Image.fromarray(values.astype(np.int32) * 100)
    if mode == "1":
        return Image.fromarray(values).convert("1", dither=Image.Dither.NONE)
    return Image.fromarray(values).convert(mode)


def read(path: Path):
    """What a model of 28 x 28 pixels reads in a file."""
    return pictures.read(path, info_of())


def to_image(picture: Image.Image) -> np.ndarray:
    """The one character of a picture in memory."""
    (image,), _ = characters(to_array(picture), (28, 28))
    return image


def read_picture(path: Path) -> np.ndarray:
    """The one character of a picture file."""
    ((name, image),), _ = read(path)
    assert name == str(path)
    return image


def refusal(path: Path) -> str:
    """The text of a refusal: one line that names the file, and no warning besides it."""
    with warnings.catch_warnings(), pytest.raises(K49Error) as caught:
        warnings.simplefilter("error")
        read(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert str(path) in text
    return text


def png(width: int, height: int) -> bytes:
    """A grey PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def light_on_dark(image: np.ndarray) -> bool:
    """Whether an image has K49's format: light ink, full contrast, mostly black around."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return bool(np.median(border) < 40 and image.max() == 255)


def close(a: np.ndarray, b: np.ndarray, levels: int) -> bool:
    """Whether no pixel of two images differs by more than some grey levels."""
    return bool(np.abs(a.astype(int) - b).max() <= levels)


# pictures


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "CMYK", "HSV", "1", "I;16", "I"])
def test_modes_and_polarities(mode):
    """The same drawing in every mode, dark on light and light on dark: the same image."""
    drawing = ink()
    light, dark = (to_image(coloured(values, mode)) for values in (drawing, 255 - drawing))
    assert light.shape == (28, 28)
    assert light.dtype == np.uint8
    assert light_on_dark(light)
    assert close(light, dark, 2)
    # one bit a pixel leaves the edges hard
    assert close(light, to_image(Image.fromarray(drawing)), 130 if mode == "1" else 3)


@pytest.mark.parametrize("largest", [1.0, 1000.0])
def test_floats(largest):
    drawing = ink()
    picture = Image.fromarray((drawing / 255 * largest).astype(np.float32))
    assert close(to_image(picture), to_image(Image.fromarray(drawing)), 3)


@pytest.mark.parametrize("size", [(28, 28), (1000, 1000), (17, 17), (64, 48), (48, 64), (300, 20)])
def test_sizes(tmp_path, size):
    light = saved(tmp_path / "light.png", Image.fromarray(ink(*size)))
    dark = saved(tmp_path / "dark.png", Image.fromarray(255 - ink(*size)))
    image = read_picture(light)
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    assert image.max() == 255
    assert close(image, read_picture(dark), 3)


def test_k49_image_stays_as_it_is(tmp_path):
    """28 x 28, cut to the ink, full contrast on black, as in the dataset: not a pixel changes."""
    image = to_image(Image.fromarray(ink()))
    assert image.max() == 255
    assert image.min() == 0
    path = saved(tmp_path / "image.png", Image.fromarray(image))
    assert np.array_equal(read_picture(path), image)


def test_top_stays_top(tmp_path):
    """The drawing is heavier top left, and so is the image."""
    image = read_picture(saved(tmp_path / "ink.png", Image.fromarray(255 - ink()))).astype(int)
    assert image[:14].sum() > 1.2 * image[14:].sum()
    assert image[:, :14].sum() > 1.2 * image[:, 14:].sum()


def test_faint_ink_gets_full_contrast(tmp_path):
    path = saved(tmp_path / "faint.png", Image.fromarray(200 - ink() // 4))
    assert light_on_dark(read_picture(path))


def test_camera_orientation(tmp_path):
    upright = Image.fromarray(255 - ink())
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise to be seen
    turned = saved(tmp_path / "turned.png", upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert np.array_equal(read_picture(turned), to_image(upright))


@pytest.mark.parametrize("colour", [0, 60])
def test_dark_ink_on_nothing(tmp_path, colour):
    """A cut-out: the ink is opaque, the paper transparent, whatever colour lies below it."""
    grey = np.full((120, 120), colour, np.uint8)
    path = tmp_path / "cut-out.png"
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(ink())]).convert("RGBA").save(path)
    assert close(read_picture(path), to_image(Image.fromarray(ink())), 3)


def test_light_ink_on_nothing(tmp_path):
    """White ink on transparent paper must not vanish."""
    grey = np.full((120, 120), 255, np.uint8)
    path = tmp_path / "white.png"
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(ink())]).convert("RGBA").save(path)
    assert close(read_picture(path), to_image(Image.fromarray(ink())), 3)


def test_palette_with_transparency(tmp_path):
    flat = Image.fromarray((ink() > 127).astype(np.uint8)).convert("P")
    flat.putpalette([255, 0, 0, 0, 0, 0])  # the paper is red, but transparent
    path = saved(tmp_path / "palette.png", flat, transparency=0)
    hard = Image.fromarray((ink() > 127).astype(np.uint8) * 255)
    assert np.array_equal(read_picture(path), to_image(hard))


@pytest.mark.parametrize("name", ["ink.jpg", "ink.tif", "ink.bmp", "ink.gif", "ink.webp"])
def test_formats(tmp_path, name):
    path = saved(tmp_path / name, Image.fromarray(255 - ink()))
    expected = to_image(Image.fromarray(ink()))
    assert np.abs(read_picture(path).astype(int) - expected).mean() < 3


# arrays


@pytest.mark.parametrize("shape", [(4, 28, 28), (4, 28, 28, 1)])
@pytest.mark.parametrize("name", ["many.npy", "MANY.NPY"])
def test_npy_of_many(tmp_path, shape, name):
    path = tmp_path / name
    with path.open("wb") as file:
        np.save(file, ARRAY.reshape(shape))
    names, images = zip(*read(path)[0], strict=True)
    assert names == tuple(f"{path}[{i}]" for i in range(4))
    assert np.array_equal(images, ARRAY)  # as they are: nothing inverted, nothing stretched


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_npy_of_one(tmp_path, shape):
    np.save(tmp_path / "one.npy", ARRAY[0].reshape(shape))
    ((name, image),), _ = read(tmp_path / "one.npy")
    assert name == f"{tmp_path / 'one.npy'}[0]"
    assert np.array_equal(image, ARRAY[0])


@pytest.mark.parametrize("name", ["many.npz", "MANY.NPZ"])
def test_npz_of_many(tmp_path, name):
    np.savez(tmp_path / "written.npz", ARRAY)
    (tmp_path / "written.npz").rename(tmp_path / name)
    names, images = zip(*read(tmp_path / name)[0], strict=True)
    assert names == tuple(f"{tmp_path / name}[{i}]" for i in range(4))
    batch = stack(list(images))
    assert batch.dtype == np.uint8
    assert np.array_equal(batch[..., 0], ARRAY)


# pages


def pages() -> list[Image.Image]:
    return [Image.fromarray(np.roll(255 - ink(60, 90), 5 * page, 1)) for page in range(3)]


def read_all(*sources):
    """Characters and errors of several files."""
    read_one = partial(pictures.read, dataset=info_of())
    found, _, faults = pictures.read_all(sources, read_one)
    return found, faults


def test_pages_of_a_tiff_are_read_one_by_one(tmp_path):
    """Was: the second and the third were not."""
    first, second, third = pages()
    blank = Image.new("L", first.size, 255)
    path = saved(tmp_path / "a.tif", first, save_all=True, append_images=[second, blank, third])
    found, faults = read_all(path, UploadedPicture("sent", path.read_bytes()))
    for (name, image, _), page in zip(found[:3], pages(), strict=True):
        assert np.array_equal(image, to_image(page)), name
    numbers = (1, 2, 4)
    assert [name for name, _, _ in found] == [
        f"{file} page {number}" for file in (path, "sent") for number in numbers
    ]
    assert [fault.split(": blank")[0] for fault in faults] == [f"{path} page 3", "sent page 3"]


def test_smaller_copies_in_a_tiff_are_no_pages(tmp_path):
    """As libraries' scans have them, for showing."""
    page, smaller = pages()[0], pages()[0].resize((45, 30))
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1
    smaller.encoderinfo = {"tiffinfo": tags}
    path = saved(tmp_path / "pyramid.tif", page, save_all=True, append_images=[smaller])
    ((name, image, note),), _ = read_all(path)
    assert (name, note) == (str(path), "")
    assert np.array_equal(image, to_image(page))


def test_too_many_pages_are_refused(tmp_path):
    first = pages()[0].resize((9, 6))
    path = saved(tmp_path / "a.tif", first, save_all=True, append_images=[first] * 16)
    _, (fault,) = read_all(UploadedPicture("sent", path.read_bytes()))
    assert fault == "sent: 17 pages, more than 16; take some of them"


def test_photograph_of_a_phone_is_no_second_page(tmp_path):
    """It holds its depth or its lights as another picture."""
    first, second, _ = (page.convert("RGB") for page in pages())
    path = saved(tmp_path / "a.mpo", first, save_all=True, append_images=[second])
    ((_, _, note),), _ = read_all(path.rename(tmp_path / "a.jpg"))
    assert not note


def test_heic_is_read_by_pillow_heif(tmp_path):
    register = pytest.importorskip("pillow_heif").register_heif_opener
    register()
    path = saved(tmp_path / "a.heic", pages()[0].convert("RGB"), quality=95)
    ((_, image, note),), _ = read_all(path)
    assert not note
    assert np.abs(image.astype(int) - to_image(pages()[0])).mean() < 3
    _, (fault,) = read_all(UploadedPicture("sent", path.read_bytes()))
    assert fault == "sent: HEIC; send it as JPEG"


def test_heic_without_pillow_heif_says_what_reads_it(tmp_path, monkeypatch):
    """Was: not a picture in a known format."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(500))
    assert "pip install pillow-heif" in refusal(tmp_path / "a.heic")


def test_pictures_of_a_dataset_have_one_page(tmp_path):
    """Was: the other pages were dropped without a word."""
    first, *others = pages()
    path = saved(tmp_path / "a.tif", first, save_all=True, append_images=others)
    for normalize in ("ink", "scale"):
        with pytest.raises(K49Error, match="several pages; save each as a picture"):
            read_single(path, (28, 28), normalize)


# refusals


@pytest.mark.parametrize("name", ["text.png", "text.npy", "text.npz", "text", "text.txt"])
@pytest.mark.parametrize("content", [b"", b"this is no picture\n" * 20])
def test_text_and_empty_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("name", ["none.png", "none.npy", "none.npz"])
def test_missing_file(tmp_path, name):
    assert "no such file" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["folder", "folder.png", "folder.npy"])
def test_folder(tmp_path, name):
    (tmp_path / name).mkdir()
    assert "not a file" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["ink.png", "ink.jpg", "ink.tif", "ink.bmp"])
def test_cut_off_picture(tmp_path, name):
    path = saved(tmp_path / name, Image.fromarray(ink()))
    content = path.read_bytes()
    for share in (0.01, 0.1, 0.5, 0.8):
        path.write_bytes(content[: int(len(content) * share)])
        refusal(path)


@pytest.mark.parametrize("side", [7_072, 10_000, 30_000, 2**31 - 1])
def test_too_many_pixels(tmp_path, side):
    """Refused from the header; the second is in between, where Pillow only warns."""
    path = tmp_path / "huge.png"
    path.write_bytes(png(side, side))
    assert "pixels" in refusal(path)


@pytest.mark.parametrize(
    "array",
    [
        ARRAY.astype(np.float32),
        ARRAY.astype(np.int64),
        ARRAY.reshape(4, 784)[:, :783],
        ARRAY[0][:27],
        ARRAY[..., None, None],
        ARRAY[:, :27],
        np.uint8(3),
        ARRAY[:0],
    ],
    ids=["float", "int64", "flat", "one image", "5 axes", "27 rows", "scalar", "no image"],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_array_of_something_else(tmp_path, kind, array):
    path = tmp_path / f"array.{kind}"
    (np.save if kind == "npy" else np.savez)(path, array)
    refusal(path)


def test_npz_with_another_member(tmp_path):
    path = tmp_path / "named.npz"
    np.savez(path, images=ARRAY)
    assert len(read(path)[0]) == 4
    np.savez(path, images=ARRAY, more=ARRAY)
    assert "several arrays" in refusal(path)


def test_npz_named_npy(tmp_path):
    np.savez(tmp_path / "many.npz", ARRAY)
    refusal((tmp_path / "many.npz").rename(tmp_path / "many.npy"))


def test_cut_off_npy(tmp_path):
    path = tmp_path / "cut.npy"
    np.save(path, ARRAY)
    content = path.read_bytes()
    for length in (4, 50, 100, 1000):
        path.write_bytes(content[:length])
        refusal(path)


def test_npy_with_a_faulty_header(tmp_path):
    path = tmp_path / "header.npy"
    np.save(path, ARRAY)
    path.write_bytes(path.read_bytes().replace(b"}", b" ", 1))
    refusal(path)


def test_npy_with_pickled_objects(tmp_path):
    path = tmp_path / "objects.npy"
    np.save(path, np.array([{}], dtype=object))
    refusal(path)
