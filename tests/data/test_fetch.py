"""The dataset's files from real HTTP servers and folders, good ones and broken ones."""

import hashlib
import io
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from k49.data import download, fetch, raw
from k49.errors import K49Error
from k49.io import write_yaml
from tests.helpers import CHARACTERS, DATA, STANDIN, class_map, free_port

BIG = "k49-train-imgs.npz"  # 240 kB; larger than the blocks that a download is read in
SMALL = "k49-test-labels.npz"
NAMES = (BIG, "k49-train-labels.npz", "k49-test-imgs.npz", SMALL)


class Server(ThreadingHTTPServer):
    """Serves `files`; `faults` name what to do wrong, one for each request of a path, in order."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(files)
        self.faults = {}  # name: list of faults, the first request gets the first
        self.requests = []  # (name, Range header or None, bytes sent)
        self.over = threading.Event()  # ends every silence
        self.url = f"http://127.0.0.1:{self.server_port}/data"

    def asked(self, name: str) -> list[tuple[str | None, int]]:
        return [(header, sent) for path, header, sent in self.requests if path == name]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        faults = self.server.faults.get(name, [])
        fault = faults.pop(0) if faults else None
        asked = self.headers.get("Range")
        content = self.server.files.get(name)
        status, headers, body = 200, {}, content
        if content is None:
            status, body = 404, b"no such file"
        elif isinstance(fault, int):
            status, body = fault, b"an error page"
        elif fault == "html":
            body = b"<!doctype html><title>Log in to the network</title>"
        elif fault == "other content":
            body = bytes(byte ^ 1 for byte in content)
        elif fault == "shorter":
            body = content[:-100]
        elif fault == "part":
            status, headers, body = 206, {"Content-Range": "bytes 9-99/100"}, content
        elif fault == "redirect":
            status, headers, body = 302, {"Location": self.path}, b""
        elif fault == "to a file":
            status, headers, body = 302, {"Location": "file:///etc/passwd"}, b""
        elif fault == "odd length":
            headers = {"Content-Length": "abc"}
        elif asked and fault != "no range":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if fault == "wrong part":  # all of it, called a part
                start = 0
            if start < len(content):
                status, body = 206, content[start:]
                headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            else:
                status, body = 416, b""
        length = len(body)
        if isinstance(fault, tuple):  # ("cut", share): close the connection after this share
            body = body[: int(length * fault[1])]
        self.server.requests.append((name, asked, len(body)))
        if fault == "silent":
            self.server.over.wait(10)
            return
        self.send_response(status)
        for key, value in {"Content-Length": length, **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if fault == "drips":
            while not self.server.over.wait(0.05):
                self.wfile.write(b"a")
            return
        if fault == "stalls":
            self.wfile.write(body[: length // 2])
            self.wfile.flush()
            self.server.over.wait(10)
            return
        self.wfile.write(body)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Between attempts."""
    monkeypatch.setattr(download, "PAUSE", 0.01)


def npz_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, array)
    return file.getvalue()


def dataset() -> dict[str, bytes]:
    """The five files, small; 300 train images so that one file is larger than a block."""
    rng = np.random.default_rng(0)
    content = {}
    for split, number in (("train", 300), ("test", 5)):
        images = rng.integers(0, 200, (number, 28, 28), dtype=np.uint8)
        labels = rng.permutation(np.arange(number, dtype=np.uint8) % 49)
        content[f"k49-{split}-imgs.npz"] = npz_bytes(images)
        content[f"k49-{split}-labels.npz"] = npz_bytes(labels)
    return content | {"k49_classmap.csv": class_map(CHARACTERS).encode()}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def md5sums(files: dict[str, bytes]) -> bytes:
    return "".join(f"{md5(content)}  {name}\n" for name, content in files.items()).encode()


@pytest.fixture(scope="module")
def files():
    return dataset()


@pytest.fixture
def pins(tmp_path, files):
    """A description called k49, with the sums of these files."""
    sums = {name: {"md5": md5(content), "size": len(content)} for name, content in files.items()}
    write_yaml(tmp_path / "own" / "k49.yaml", {"title": "Pinned", "files": sums})
    return {name: f"{each['size']} bytes, MD5 {each['md5']}" for name, each in sums.items()}


@pytest.fixture
def serve(monkeypatch, files):
    """A function that starts a server of the dataset."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def start() -> Server:
        server = Server(files)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.over.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def get(tmp_path):
    """A function that fetches into `tmp_path / "raw"` and returns what came, in a few words."""

    def run(*mirrors: str, source: str = "k49", retries: int = 0, timeout: float = 5) -> str:
        changes = dict(source=source, mirrors=list(mirrors), timeout=timeout, retries=retries)
        folders = (tmp_path / name for name in ("raw", "downloads", "own"))
        return fetch.fetch(DATA.model_copy(update=changes), STANDIN, *folders)

    return run


@pytest.fixture
def refused(get, tmp_path):
    """A function that fetches, expects a refusal that leaves nothing, and returns its text."""

    def run(*mirrors: str, **settings) -> str:
        with pytest.raises(K49Error) as caught:
            get(*mirrors, **settings)
        assert in_raw(tmp_path) == {}
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    return run


def in_raw(tmp_path: Path) -> dict[str, bytes]:
    """The arrays that were fetched, as bytes; empty if there is not a file."""
    folder = tmp_path / "raw"
    if not folder.is_dir() or not list(folder.iterdir()):
        return {}
    arrays = dict(zip(NAMES, (*raw.read(folder, "train"), *raw.read(folder, "test")), strict=True))
    return {name: array.tobytes() for name, array in arrays.items()}


def arrays_of(files: dict[str, bytes]) -> dict[str, bytes]:
    """What should be fetched of these files."""
    return {name: np.load(io.BytesIO(files[name]))["arr_0"].tobytes() for name in NAMES}


def dead_address() -> str:
    """An address that refuses connections."""
    return f"http://127.0.0.1:{free_port()}/data"


def folder_of(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


# k49: pinned files from mirrors


def test_good_download(get, serve, pins, files, tmp_path):
    server = serve()
    said = get(server.url + "/")  # a slash at the end does no harm
    assert in_raw(tmp_path) == arrays_of(files)
    assert sorted(server.requests) == sorted(
        (name, None, len(content)) for name, content in files.items()
    )
    assert "verified by their MD5 sums" in said


def test_verified_download_is_not_downloaded_again(get, serve, pins, files, tmp_path):
    server = serve()
    get(server.url)
    server.requests.clear()
    shutil.rmtree(tmp_path / "raw")
    get(server.url)
    assert server.requests == []
    assert in_raw(tmp_path) == arrays_of(files)


def test_kept_download_that_went_bad_is_downloaded_again(get, serve, pins, files, tmp_path):
    server = serve()
    get(server.url)
    server.requests.clear()
    kept = next((tmp_path / "downloads").glob(f"*{SMALL}"))
    kept.write_bytes(bytes(len(files[SMALL])))
    get(server.url)
    assert server.requests == [(SMALL, None, len(files[SMALL]))]
    assert in_raw(tmp_path) == arrays_of(files)


def test_cut_off_then_resumed(get, serve, pins, files, tmp_path):
    server = serve()
    server.faults[BIG] = [("cut", 0.7)]
    get(server.url, retries=1)
    (first, _), (second, sent) = server.asked(BIG)
    start = int(second.removeprefix("bytes=").removesuffix("-"))
    assert first is None
    assert 0 < start <= 0.7 * len(files[BIG])
    assert sent == len(files[BIG]) - start
    assert in_raw(tmp_path) == arrays_of(files)


def test_cut_off_then_resumed_by_the_next_call(get, refused, serve, pins, files, tmp_path):
    server = serve()
    server.faults[BIG] = [("cut", 0.7)]
    assert BIG in refused(server.url)
    get(server.url)
    _, (second, sent) = server.asked(BIG)
    assert second
    assert sent < len(files[BIG])
    assert in_raw(tmp_path) == arrays_of(files)


def test_cut_off_then_resumed_at_another_mirror(get, serve, pins, files, tmp_path):
    first, second = serve(), serve()
    first.faults[BIG] = [("cut", 0.7)]
    get(first.url, second.url)
    ((asked, sent),) = second.asked(BIG)
    assert asked
    assert sent < len(files[BIG])
    assert in_raw(tmp_path) == arrays_of(files)


def test_server_without_ranges_starts_over(get, serve, pins, files, tmp_path):
    server = serve()
    server.faults[BIG] = [("cut", 0.7), "no range"]
    get(server.url, retries=1)
    _, (second, sent) = server.asked(BIG)
    assert second
    assert sent == len(files[BIG])
    assert in_raw(tmp_path) == arrays_of(files)


def test_wrong_part_starts_over(get, serve, pins, files, tmp_path):
    """Was: a server that answers 206 from byte 0 made one and a half files of one."""
    server = serve()
    server.faults[BIG] = [("cut", 0.7), "wrong part"]
    get(server.url, retries=1)
    asked = [header for header, _ in server.asked(BIG)]
    assert asked[0] is None
    assert asked[1]
    assert asked[2] is None
    assert in_raw(tmp_path) == arrays_of(files)


def test_part_that_nobody_asked_for(refused, serve, pins):
    server = serve()
    server.faults[BIG] = ["part"]
    assert "unexpected 206 Partial Content" in refused(server.url)


def test_resumed_onto_something_else_starts_over(get, refused, serve, pins, files, tmp_path):
    """Both halves arrive, but the first came from a faulty mirror: the whole is thrown away."""
    bad, good = serve(), serve()
    bad.files[BIG] = bytes(len(files[BIG]))
    bad.faults[BIG] = [("cut", 0.7)]
    assert "wrong content" in refused(bad.url, good.url)
    get(good.url)
    assert good.asked(BIG)[-1] == (None, len(files[BIG]))
    assert in_raw(tmp_path) == arrays_of(files)


@pytest.mark.parametrize("status", [500, 408, 429])
def test_server_error_is_tried_again(get, serve, pins, files, tmp_path, status):
    server = serve()
    server.faults[SMALL] = [status]
    get(server.url, retries=1)
    assert len(server.asked(SMALL)) == 2
    assert in_raw(tmp_path) == arrays_of(files)


def test_missing_file_is_not_tried_again(refused, serve, pins):
    server = serve()
    del server.files[BIG]
    assert "404" in refused(server.url, retries=1)
    assert len(server.asked(BIG)) == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (500, "the server answered 500"),
        (403, "the server answered 403"),
        (416, "the server answered 416"),  # although nobody asked for a range
        ("other content", "wrong content"),
        ("shorter", "wrong length"),
        ("html", "wrong length"),
        ("redirect", "redirects without end"),
        ("silent", "timed out"),
        ("stalls", "timed out"),
        ("drips", "fewer than 1,000 bytes a second"),
        ("to a file", "no http or https address, or it leads to none"),
        (("cut", 0.5), "broke"),
    ],
    ids=str,
)
def test_bad_answer(refused, serve, pins, files, fault, expected):
    server = serve()
    server.faults[BIG] = [fault] * 40  # a redirect loop takes 30
    text = refused(server.url, timeout=0.3)
    assert expected in text
    assert f"{server.url}/{BIG}" in text
    assert md5(files[BIG]) in text


def test_length_that_is_no_number(get, serve, pins, files, tmp_path):
    """Was: a traceback."""
    server = serve()
    server.faults[BIG] = ["odd length"]
    get(server.url)
    assert in_raw(tmp_path) == arrays_of(files)


def test_wrong_hash_names_what_came(refused, serve, pins, files):
    server = serve()
    server.faults[SMALL] = ["other content"]
    text = refused(server.url)
    assert md5(bytes(byte ^ 1 for byte in files[SMALL])) in text
    assert md5(files[SMALL]) in text


def test_second_mirror_takes_over(get, serve, pins, files, tmp_path):
    server = serve()
    get(dead_address(), server.url)
    assert in_raw(tmp_path) == arrays_of(files)


def test_each_file_finds_its_mirror(get, serve, pins, files, tmp_path):
    """Neither mirror has all of the files, both together have."""
    first, second = serve(), serve()
    first.faults[BIG] = ["html"]
    second.files = {BIG: files[BIG]}
    get(first.url, second.url)
    assert in_raw(tmp_path) == arrays_of(files)


def test_all_mirrors_down(refused, serve, pins):
    dead, broken, empty = dead_address(), serve(), serve()
    broken.faults = {name: [500] for name in pins}
    empty.files = {}
    text = refused(dead, broken.url, empty.url)
    first = next(iter(pins))
    start, *tried = re.split(r"; |: (?=http)", text.partition(". Two ways out")[0])
    assert start == f"{first} (expected: {pins[first]}) could not be downloaded"
    for url, why in ((dead, "no connection"), (broken.url, "500"), (empty.url, "404")):
        assert [why in each for each in tried if each.startswith(f"{url}/{first}: ")] == [True]
    assert "data.source" in text
    assert "folder" in text
    assert "standin" in text


def test_no_mirrors(refused, pins):
    assert "data.mirrors" in refused()


@pytest.mark.parametrize(
    "mirror", ["ftp://127.0.0.1/data", "http:///data", "no address", "http://[bad"]
)
def test_mirror_that_is_no_address(refused, pins, mirror):
    assert mirror in refused(mirror)


# an http address as source


def test_http_source_with_md5sums(get, serve, files, tmp_path):
    server = serve()
    server.files["md5sums"] = md5sums(files)
    said = get(source=server.url)
    assert in_raw(tmp_path) == arrays_of(files)
    assert "verified by their MD5 sums" in said


def test_http_source_with_md5sums_is_not_downloaded_again(get, serve, files, tmp_path):
    server = serve()
    server.files["md5sums"] = md5sums(files)
    get(source=server.url)
    server.requests.clear()
    get(source=server.url)
    assert [name for name, _, _ in server.requests] == ["md5sums"]
    assert in_raw(tmp_path) == arrays_of(files)


def test_http_source_with_other_md5sums(refused, serve, files):
    server = serve()
    server.files["md5sums"] = md5sums(files | {SMALL: b"something else"})
    text = refused(source=server.url)
    assert "wrong content" in text
    assert md5(b"something else") in text
    assert f"{server.url}/{SMALL}" in text


@pytest.mark.parametrize("content", [b"<!doctype html>", b"", b"\xff\xfe\x00", md5sums({"a": b""})])
def test_http_source_with_useless_md5sums(refused, serve, content):
    server = serve()
    server.files["md5sums"] = content
    assert refused(source=server.url).startswith(f"{server.url}/md5sums")


def test_http_source_whose_md5sums_fail(refused, serve, files):
    """A server in trouble is no server without md5sums: verification is not dropped."""
    server = serve()
    server.files["md5sums"] = md5sums(files)
    server.faults["md5sums"] = [500]
    text = refused(source=server.url)
    assert f"{server.url}/md5sums" in text
    assert "500" in text


def test_http_source_whose_md5sums_break_off_at_404_bytes(refused, serve, files):
    """404 is a status here, not any number in the reason of a failure."""
    server = serve()
    server.files["md5sums"] = md5sums(files) + b"\n" * 1000
    server.faults["md5sums"] = [("cut", 404.5 / len(server.files["md5sums"]))]
    assert f"{server.url}/md5sums" in refused(source=server.url)


def test_http_source_without_md5sums(get, serve, files, tmp_path):
    server = serve()
    said = get(source=server.url)
    assert in_raw(tmp_path) == arrays_of(files)
    assert "verified by their contents" in said


def test_http_source_without_md5sums_is_downloaded_again(get, serve, files, tmp_path):
    server = serve()
    get(source=server.url)
    server.files[SMALL] = npz_bytes(np.arange(5, dtype=np.uint8))
    get(source=server.url)
    assert in_raw(tmp_path) == arrays_of(files | {SMALL: server.files[SMALL]})


def test_http_source_without_md5sums_wrong_shapes(refused, serve):
    server = serve()
    server.files[SMALL] = npz_bytes(np.zeros(6, np.uint8))  # for five images
    assert SMALL in refused(source=server.url)


def test_http_source_without_md5sums_recovers_from_wrong_shapes(
    get, refused, serve, files, tmp_path
):
    """What was refused must not stand in the way once the server has the right file."""
    server = serve()
    server.files[SMALL] = npz_bytes(np.zeros(6, np.uint8))
    refused(source=server.url)
    server.files[SMALL] = files[SMALL]
    get(source=server.url)
    assert in_raw(tmp_path) == arrays_of(files)


def test_http_source_without_md5sums_goes_on_after_a_missing_file(
    get, refused, serve, files, tmp_path
):
    """Files that came whole before the failure are no obstacle to the next call."""
    server = serve()
    del server.files[SMALL]
    assert SMALL in refused(source=server.url)
    server.files[SMALL] = files[SMALL]
    get(source=server.url)
    assert in_raw(tmp_path) == arrays_of(files)


def test_http_source_without_md5sums_is_never_resumed(get, refused, serve, files, tmp_path):
    """Without a hash nobody could tell whether both halves are of the same file."""
    server = serve()
    server.faults[BIG] = [("cut", 0.7)]
    refused(source=server.url)
    get(source=server.url)
    assert [header for header, _ in server.asked(BIG)] == [None, None]
    assert in_raw(tmp_path) == arrays_of(files)


def test_http_source_with_md5sums_and_wrong_content(refused, serve, files):
    """The sums agree, and yet it is not the dataset: named by its address, not by where it lies."""
    server = serve()
    server.files[SMALL] = npz_bytes(np.zeros(6, np.uint8))  # for five images
    server.files["md5sums"] = md5sums(server.files)
    text = refused(source=server.url)
    assert f"{server.url}/{SMALL} 6 labels" in text
    assert "downloads" not in text


def test_password_is_not_shown(refused, serve, files):
    server = serve()
    server.files["md5sums"] = md5sums(files)
    del server.files[BIG]
    url = server.url.replace("http://", "http://somebody:secret@")
    text = refused(source=url)
    assert f"{server.url}/{BIG}: " in text
    assert "secret" not in text
    server.faults["md5sums"] = [500]
    assert "secret" not in refused(source=url)


@pytest.mark.parametrize("content", [b"<!doctype html>", b""])
def test_md5sums_that_are_none_are_said_to_be(refused, serve, content):
    server = serve()
    server.files["md5sums"] = content
    text = refused(source=server.url)
    assert "Two ways out" in text
    assert ("it starts with '<!doctype html>'" if content else "it is empty") in text


def test_md5sum_that_is_none(refused, files, tmp_path):
    """One byte of the sums is damaged: no such sum is believed."""
    whole = md5(files[SMALL]).encode()
    sums = md5sums(files).replace(whole, b"\xff" + whole[1:])
    source = folder_of(files | {"md5sums": sums}, tmp_path / "mirror")
    text = refused(source=str(source))
    assert f"no MD5 sum of {SMALL}" in text


def test_http_source_without_md5sums_html_for_all(refused, serve, files):
    server = serve()
    server.faults = {name: ["html"] for name in files}
    assert server.url in refused(source=server.url)


# a folder as source


def test_folder_with_md5sums(get, files, tmp_path):
    source = folder_of(files | {"md5sums": md5sums(files)}, tmp_path / "mirror")
    said = get(source=str(source))
    assert in_raw(tmp_path) == arrays_of(files)
    assert "md5sums" in said


def test_folder_without_md5sums(get, files, tmp_path):
    source = folder_of(files, tmp_path / "mirror")
    said = get(source=str(source))
    assert in_raw(tmp_path) == arrays_of(files)
    assert said.endswith("verified by their contents")


def test_folder_in_home(get, files, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder_of(files, tmp_path / "mirror")
    get(source="~/mirror")
    assert in_raw(tmp_path) == arrays_of(files)


def test_missing_folder(refused, tmp_path):
    text = refused(source=str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in text
    assert "data.source" in text
    assert "standin" in text


def test_address_of_another_kind(refused):
    text = refused(source="ftp://somebody:secret@example.org/k49")
    assert text == "data.source: ftp://example.org/k49: only http and https addresses"


def test_folder_that_lacks_a_file(refused, files, tmp_path):
    source = folder_of(files, tmp_path / "mirror")
    (source / BIG).unlink()
    text = refused(source=str(source))
    assert BIG in text
    assert SMALL not in text


def test_folder_with_wrong_md5(refused, files, tmp_path):
    sums = md5sums(files | {SMALL: b"something else"})
    source = folder_of(files | {"md5sums": sums}, tmp_path / "mirror")
    text = refused(source=str(source))
    assert str(source / SMALL) in text
    assert md5(files[SMALL]) in text
    assert md5(b"something else") in text


def test_folder_with_incomplete_md5sums(refused, files, tmp_path):
    sums = md5sums({name: content for name, content in files.items() if name != SMALL})
    source = folder_of(files | {"md5sums": sums}, tmp_path / "mirror")
    assert SMALL in refused(source=str(source))


def test_folder_whose_md5sums_are_no_text(refused, files, tmp_path):
    source = folder_of(files | {"md5sums": b"\xff\xfe\x00"}, tmp_path / "mirror")
    assert str(source / "md5sums") in refused(source=str(source))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (BIG, npz_bytes(np.zeros((300, 28, 27), np.uint8))),
        (BIG, npz_bytes(np.zeros((299, 28, 28), np.uint8))),
        (SMALL, npz_bytes(np.full(5, 49, np.uint8))),
        (SMALL, npz_bytes(np.zeros(5, np.float32))),
        ("k49_classmap.csv", b"index,codepoint,char\n"),
        ("k49_classmap.csv", class_map(CHARACTERS).replace("い", "あ").encode()),
        (BIG, npz_bytes(np.zeros((300, 28, 28), np.uint8))),
        ("k49-test-imgs.npz", npz_bytes(np.full((5, 28, 28), 255, np.uint8))),
    ],
)
@pytest.mark.parametrize("sums", [False, True], ids=["without md5sums", "with md5sums"])
def test_folder_with_wrong_content(refused, files, tmp_path, name, content, sums):
    source = folder_of(files | {name: content}, tmp_path / "mirror")
    if sums:
        (source / "md5sums").write_bytes(md5sums(files | {name: content}))
    text = refused(source=str(source))
    assert str(source / name) in text
    assert len(text.splitlines()) == 1


def with_copies(files: dict[str, bytes], number: int) -> dict[str, bytes]:
    """The dataset with 200 test images, so many of which are train images."""
    train = np.load(io.BytesIO(files[BIG]))["arr_0"]
    test = np.random.default_rng(1).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    test[:number] = train[7 : 7 + number]
    labels = np.arange(200, dtype=np.uint8) % 49
    return files | {"k49-test-imgs.npz": npz_bytes(test), SMALL: npz_bytes(labels)}


@pytest.mark.parametrize("number", [3, 200])
def test_test_images_that_are_train_images(refused, files, tmp_path, number):
    """Was taken without a word: leakage would read as a superb test accuracy."""
    source = folder_of(with_copies(files, number), tmp_path / "mirror")
    text = refused(source=str(source))
    assert f"{source / 'k49-test-imgs.npz'}: {number} of 200 images are train images, too" in text


def test_single_copies_are_said(get, files, tmp_path):
    source = folder_of(with_copies(files, 2), tmp_path / "mirror")
    assert "2 of 200 test images are train images, too" in get(source=str(source))


# the stand-in as source


def test_standin(get, tmp_path):
    """Each class, K49's number of images times the scale, twice the same bytes."""
    said = get(source="standin")
    first = in_raw(tmp_path)
    labels = np.frombuffer(first[SMALL], np.uint8)
    assert np.bincount(labels).tolist() == [20] * 49
    assert "stand-in (drawn, not K49)" in said
    get(source="standin")
    assert in_raw(tmp_path) == first
