"""The page that reads, in a browser: as Keras and `k49 predict` do, and without a network."""

import base64

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright
from scipy.ndimage import rotate

from benchmarks.pictures import CONDITIONS, SIDE, as_picture
from k49.calibration.detector import outlier_scores
from k49.export import Form, export
from k49.inference.models import open_model
from k49.inference.predict import layout_by, read_picture, stack
from k49.model_file import read_provenance
from k49.pictures.characters import characters
from k49.pictures.ink import NoInkError
from k49.training.model import load_model, predict_proba
from tests import helpers
from tests.export.test_export import IMAGES, saved
from tests.helpers import CHARACTERS, info_of
from tests.inference.test_characters import around, drawing, photo, shadow, sideways

pytestmark = pytest.mark.slow
SIZE = 28, 28


@pytest.fixture(scope="module")
def browser():
    """Chromium, with nothing around it to reach."""
    path = helpers.browser()
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--proxy-server=http://127.0.0.1:9"]
        running = playwright.chromium.launch(executable_path=path, args=options)
        yield running
        running.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A function that exports a model as a page, opens it, and returns that page and the model.

    In the end nothing but the page must have been asked for, and nothing have gone wrong.
    """
    asked, wrong, pages = [], [], []

    def function(network="mlp", known=None, **options):
        path, out = saved(tmp_path, network, **(known or {})), tmp_path / "reader.html"
        export(path, {Form.html: out})
        page = browser.new_page(**options)
        pages.append(page)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(out.as_uri())
        page.evaluate("ready.then(() => true)")
        return page, path

    yield function
    for page in pages:
        page.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert wrong == []


@pytest.mark.parametrize("network", ["resnet", "tests.export.test_export:own"])  # all operations
def test_network_reads_as_keras_does(opened, network):
    """Its weights have seven bits: probabilities differ by some hundredths at most."""
    page, path = opened(network)
    read = page.evaluate(
        """async (images) => {
            const model = await ready;
            return images.map((image) => {
                const {probabilities, score} = readImage(model, image);
                return [...probabilities, score];
            });
        }""",
        IMAGES.reshape(len(IMAGES), -1).tolist(),
    )
    model = load_model(path)
    assert np.array(read)[:, :-1] == pytest.approx(predict_proba(model, IMAGES), abs=0.04)
    scores = outlier_scores(model, read_provenance(path)[1], IMAGES)
    assert np.array(read)[:, -1] == pytest.approx(scores, abs=0.05)


COMPOSED = (
    "red on green of equal brightness",
    "bleed-through 45 %",
    "lined paper, red margin line",
    "sheet on a dark desk",
    "red seal over the character",
    "margin: a eighth of the side",
)


def square(ink):
    """A drawing in the middle of a square of 280 pixels."""
    spare = [SIDE - length for length in ink.shape]
    return np.pad(ink, [(length // 2, length - length // 2) for length in spare])


def photographs():
    """Characters on paper, one or three in a column, in any light and size; and blank paper."""
    rng = np.random.default_rng(0)
    for number, character in enumerate("あきしはふ安" * 2):
        ink = drawing(character, int(rng.integers(30, 200)))
        if number % 6 == 5:
            gap = np.zeros((len(ink) // 2, ink.shape[1]))
            ink = np.concatenate([ink, gap, ink, gap, ink])
        grey = photo(
            ink,
            margin=rng.uniform(0, 0.4),
            paper=rng.uniform(130, 250),
            dark=rng.uniform(10, 60),
            light=(1.0, sideways, shadow, around)[number % 4],
            noise=rng.uniform(0, 5),
        )
        yield 255 - grey if number % 7 == 3 else grey
    for number, (compose, _) in enumerate(CONDITIONS[name] for name in COMPOSED):
        inks = [square(drawing(character, SIDE)) for character in ("ふ安"[number % 2], "は", "き")]
        yield np.asarray(as_picture(compose(inks, rng)))
    column = np.pad(np.concatenate([np.pad(drawing("は", 90), ((0, 8), (0, 0)))] * 3), 20)
    yield photo(np.clip(rotate(column, 5, reshape=False, order=1), 0, 1))
    yield IMAGES[3, ..., 0]
    yield np.full((60, 50), 230, np.uint8)


def test_pictures_are_prepared_as_predict_does(opened):
    page, _ = opened()
    for grey in photographs():
        try:
            images, note = characters(grey, SIZE)
            expected = stack(images)[..., 0]
        except NoInkError:
            expected = None
        values = base64.b64encode(grey.tobytes()).decode()
        height, width, channels = (*grey.shape, 1)[:3]
        picture = {"height": height, "width": width, "channels": channels, "values": values}
        found = page.evaluate(
            """(picture) => {
                try {
                    const bytes = atob(picture.values);
                    const {height, width, channels} = picture;
                    const planes = Array.from({length: channels}, (_, c) => ({height, width,
                        values: Float32Array.from({length: height * width},
                            (_, i) => bytes.charCodeAt(channels * i + c))}));
                    const {images, leftOut} = characters(
                        channels > 1 ? {height, width, channels: planes} : planes[0], [28, 28]);
                    return {images: images.map((image) => [...image]), leftOut};
                } catch (error) {
                    return error.message;
                }
            }""",
            picture,
        )
        if expected is None:
            assert "ink" in found
        else:
            assert np.abs(np.reshape(found["images"], expected.shape) - expected).max() <= 2
            left_out = ", ".join(found["leftOut"])
            assert note.startswith(f"left out: {left_out}" if left_out else "may" if note else "")


def shown(page):
    """The likeliest characters and their percentages, when there are some."""
    page.wait_for_selector("#candidates li")
    rows = page.locator("#candidates li")
    return [
        (row.locator(".name").inner_text(), float(row.locator(".share").inner_text().split()[0]))
        for row in rows.all()
    ]


def draw(page):
    box = page.locator("#board").bounding_box()
    points = [(0.35, 0.1), (0.33, 0.5), (0.5, 0.9), (0.8, 0.7)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


@pytest.mark.parametrize(
    "options", [{}, {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark"}]
)
def test_draw_and_clear(opened, options):
    page, _ = opened(**options)
    assert page.locator("#candidates li").count() == 0
    draw(page)
    rows = shown(page)
    assert len(rows) == 5
    assert {name for name, _ in rows} <= set(CHARACTERS)
    assert [share for _, share in rows] == sorted((share for _, share in rows), reverse=True)
    assert page.locator("#spoken").text_content().startswith(f"{rows[0][0]} ")
    assert page.locator("#parts img").get_attribute("src").startswith("data:image/png")
    widths = [bar.bounding_box()["width"] for bar in page.locator(".bar span").all()]
    assert widths[0] >= widths[-1] > 0
    assert page.locator(".example path").first.get_attribute("d").startswith("M")
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0
    page.get_by_role("button", name="Clear").press("Enter")
    assert page.locator("#candidates li").count() == 0


@pytest.fixture
def picture(tmp_path):
    """A photograph of a character."""
    Image.fromarray(photo(drawing("あ", 200))).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


GIVEN = {  # a way to give the page a file, as a DataTransfer
    "drop": "new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true})",
    "paste": "new ClipboardEvent('paste', {clipboardData: dataTransfer, bubbles: true})",
}


@pytest.mark.parametrize("way", ["choose", *GIVEN])
def test_picture_is_read_however_it_comes(opened, picture, way):
    page, path = opened()
    if way == "choose":
        page.set_input_files("#file", picture)
    else:
        page.evaluate(
            f"""(bytes) => {{
                const dataTransfer = new DataTransfer();
                const file = new File([new Uint8Array(bytes)], "a.png", {{type: "image/png"}});
                dataTransfer.items.add(file);
                document.dispatchEvent({GIVEN[way]});
            }}""",
            list(picture.read_bytes()),
        )
    rows = shown(page)
    grey = np.asarray(Image.open(picture), np.float32)
    expected = predict_proba(load_model(path), stack(characters(grey, SIZE)[0]))[0]
    for name, share in rows:
        assert share / 100 == pytest.approx(expected[CHARACTERS.index(name)], abs=6e-3)


def turned(path):
    """A WebP that lies on its side, with EXIF that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    paper = Image.fromarray(photo(drawing("は", 150))).rotate(90, expand=True)
    return helpers.saved(path, paper, exif=exif, lossless=True)


def transparent(path):
    """White ink on transparent paper."""
    alpha = Image.fromarray(helpers.ink(90, 120))
    return helpers.saved(path, Image.merge("LA", (Image.new("L", alpha.size, 255), alpha)))


def three_columns(path):
    """Columns of characters, which nothing cuts apart."""
    line = np.concatenate([np.pad(drawing("は", 60), ((0, 6), (0, 9)))] * 3)
    return helpers.saved(path, Image.fromarray(photo(np.concatenate([line] * 3, axis=1))))


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"ink_extent": 0.7},
        {"normalize": "scale", "invert": True},
        {"normalize": "scale", "invert": False},
    ],
    ids=str,
)
def test_pictures_of_every_kind_are_read_as_predict_reads_them(opened, tmp_path, known):
    """Was: WebP not turned, white ink on transparent paper blank, no margins, drawings inverted."""
    page, path = opened(known=known)
    layout = layout_by(open_model(path))
    for make, name in ((turned, "a.webp"), (transparent, "a.png"), (three_columns, "b.png")):
        file = make(tmp_path / name)
        ((_, image), *_), doubt = read_picture(file, info_of(**known), layout)
        page.set_input_files("#file", file)
        page.wait_for_selector("body[data-milliseconds]")
        found = page.evaluate("[...readings[0].image]")
        assert np.abs(np.reshape(found, SIZE) - image).max() <= 3, name
        assert ("several characters" in page.locator("#note").inner_text()) == bool(doubt), name
        page.get_by_role("button", name="Clear").click()
        page.evaluate("delete document.body.dataset.milliseconds")
    draw(page)
    shown(page)
    assert page.evaluate("readings[0].image.reduce((a, b) => a + b) / 784") < 100  # light on black
    page.get_by_role("button", name="Undo").click()
    assert page.locator("#candidates li").count() == 0


def test_same_file_again_and_a_dot_and_a_second_finger(opened, picture):
    page, _ = opened()
    for _ in range(2):  # was: nothing the second time
        page.set_input_files("#file", picture)
        shown(page)
        page.get_by_role("button", name="Clear").click()
    box = page.locator("#board").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.evaluate("pen.getImageData(140, 140, 1, 1).data[0]") < 100, "a dot"
    for kind, number, x in (("down", 7, 100), ("down", 8, 200), ("move", 8, 250), ("up", 8, 250)):
        page.evaluate(
            """([kind, pointerId, x, y]) => {
                board.setPointerCapture = () => {};
                const options = {pointerId, clientX: x, clientY: y, bubbles: true};
                board.dispatchEvent(new PointerEvent("pointer" + kind, options));
            }""",
            [kind, number, box["x"] + x, box["y"] + 200],
        )
    assert page.evaluate("strokes.length") == 2  # was: a line between the fingers
    assert page.evaluate("strokes[1].length") == 1


def test_browser_that_can_not_unpack_the_model_is_told(browser, tmp_path):
    export(saved(tmp_path), {Form.html: tmp_path / "reader.html"})
    page = browser.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto((tmp_path / "reader.html").as_uri())
    page.get_by_text("This browser can't unpack the model").wait_for()
    page.close()


def test_characters_of_a_column_are_read_one_by_one(opened, tmp_path):
    page, _ = opened()
    ink = drawing("あ", 120)
    column = np.concatenate([ink, np.zeros((90, ink.shape[1]))] * 3)
    Image.fromarray(photo(column)).save(tmp_path / "column.png")
    page.set_input_files("#file", tmp_path / "column.png")
    shown(page)
    parts = page.locator("#parts button")
    assert parts.count() == 3
    assert len(page.locator("#text").inner_text()) == 3
    parts.nth(1).press("Enter")
    assert [each.get_attribute("aria-pressed") for each in parts.all()] == [
        "false",
        "true",
        "false",
    ]


def test_what_can_t_be_read_is_said(opened, tmp_path):
    page, _ = opened()
    Image.new("L", (80, 80), 200).save(tmp_path / "blank.png")
    page.set_input_files("#file", tmp_path / "blank.png")
    page.get_by_text("There is no ink").wait_for()
    (tmp_path / "text.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "text.png")
    page.get_by_text("not a picture").wait_for()
    assert page.locator("#candidates li").count() == 0


def test_page_says_what_it_was_trained_on_and_asks_nobody(opened, tmp_path):
    page, _ = opened()
    assert "Trained on bars" in page.locator("footer").inner_text()
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    refused = page.evaluate("fetch('http://127.0.0.1:9/').then(() => false, () => true)")
    assert refused


def test_names_are_text_and_nothing_else(browser, tmp_path):
    """Classes and data called as markup is."""
    known = dict(classes=["</script><b>", '"><img src=x>', "c"], image_size=[16, 20])
    licence = "CC {script} {style}"  # was: the code landed there, and the page was dead
    path = saved(tmp_path, warning="<script>alert(1)</script>", licence=licence, **known)
    export(path, {Form.html: tmp_path / "reader.html"})
    page = browser.new_page()
    page.goto((tmp_path / "reader.html").as_uri())
    draw(page)
    assert {name for name, _ in shown(page)} == set(known["classes"])
    assert "<script>alert(1)" in page.locator("footer").inner_text()
    assert licence in page.locator("footer").inner_text()
    assert page.locator("img:not(#parts img), footer script").count() == 0
    page.close()


def test_the_same_bytes_again(tmp_path):
    path = saved(tmp_path)
    for name in ("a", "b"):
        export(path, {Form.html: tmp_path / name}, metrics={"test_accuracy": 0.5})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "reads 50.0% of the test images" in (tmp_path / "a").read_text("utf-8")
