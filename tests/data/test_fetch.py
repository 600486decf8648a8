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


def test_download_is_verified_and_kept(get, serve, pins, files, tmp_path):
    server = serve()
    said = get(server.url + "/")  # a slash at the end does no harm
    assert in_raw(tmp_path) == arrays_of(files)
    whole = sorted((name, None, len(content)) for name, content in files.items())
    assert sorted(server.requests) == whole
    assert "verified by their MD5 sums" in said
    server.requests.clear()
    shutil.rmtree(tmp_path / "raw")
    get(server.url)
    assert server.requests == []
    assert in_raw(tmp_path) == arrays_of(files)
    kept = next((tmp_path / "downloads").glob(f"*{SMALL}"))
    kept.write_bytes(bytes(len(files[SMALL])))
    get(server.url)
    assert server.requests == [(SMALL, None, len(files[SMALL]))], "one went bad"
    assert in_raw(tmp_path) == arrays_of(files)


@pytest.mark.parametrize(
    ("faults", "ranges", "whole"),
    [
        ([("cut", 0.7)], [False, True], False),
        ([("cut", 0.7), "no range"], [False, True], True),
        # was: a server that answers 206 from byte 0 made one and a half files of one
        ([("cut", 0.7), "wrong part"], [False, True, False], True),
        ([500], [False, False], True),
        ([408], [False, False], True),
        ([429], [False, False], True),
        (["odd length"], [False], True),  # was: a traceback
    ],
    ids=str,
)
def test_second_attempt(get, serve, pins, files, tmp_path, faults, ranges, whole):
    """Only what is missing is asked for, where a server can do that."""
    server = serve()
    server.faults[BIG] = faults
    get(server.url, retries=1)
    asked = server.asked(BIG)
    assert [bool(header) for header, _ in asked] == ranges
    start = 0 if whole else int(asked[-1][0].removeprefix("bytes=").removesuffix("-"))
    assert asked[-1][1] == len(files[BIG]) - start
    assert whole or 0 < start <= 0.7 * len(files[BIG])
    assert in_raw(tmp_path) == arrays_of(files)


def test_resumed_by_the_next_call_and_at_another_mirror(get, refused, serve, pins, files, tmp_path):
    servers = [serve() for _ in range(3)]
    for server in servers[:2]:
        server.faults[BIG] = [("cut", 0.7)]
    assert BIG in refused(servers[0].url)
    get(*(server.url for server in servers[1:]))
    sent = [server.asked(BIG)[0] for server in servers]
    assert [bool(header) for header, _ in sent] == [False, True, True]
    assert sum(n for _, n in sent) <= len(files[BIG])
    assert in_raw(tmp_path) == arrays_of(files)


def test_resumed_onto_something_else_starts_over(get, refused, serve, pins, files, tmp_path):
    """Both halves arrive, but the first came from a faulty mirror: the whole is thrown away."""
    bad, good = serve(), serve()
    bad.files[BIG] = bytes(len(files[BIG]))
    bad.faults[BIG] = [("cut", 0.7)]
    assert "wrong content" in refused(bad.url, good.url)
    get(good.url)
    assert good.asked(BIG)[-1] == (None, len(files[BIG]))
    assert in_raw(tmp_path) == arrays_of(files)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (500, "the server answered 500"),
        (403, "the server answered 403"),
        (416, "the server answered 416"),  # although nobody asked for a range
        ("part", "unexpected 206 Partial Content"),
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
    if fault == "other content":
        assert md5(bytes(byte ^ 1 for byte in files[BIG])) in text


def test_each_file_is_of_the_first_mirror_that_has_it(get, serve, pins, files, tmp_path):
    first, second = serve(), serve()
    first.faults[BIG] = ["html"]
    second.files = {BIG: files[BIG]}
    get(dead_address(), first.url, second.url)
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
    assert all(word in text for word in ("data.source", "folder", "standin"))
    assert "404" in refused(empty.url, retries=1)
    assert len(empty.asked(first)) == 2, "what isn't there is not tried again"


def test_no_mirror_and_what_is_no_address(refused, pins):
    assert "data.mirrors" in refused()
    for mirror in ("ftp://127.0.0.1/data", "http:///data", "no address", "http://[bad"):
        assert mirror in refused(mirror)


# an http address as source


def test_http_source_with_md5sums(get, serve, files, tmp_path):
    server = serve()
    server.files["md5sums"] = md5sums(files)
    said = get(source=server.url)
    assert in_raw(tmp_path) == arrays_of(files)
    assert "verified by their MD5 sums" in said
    server.requests.clear()
    get(source=server.url)
    assert [name for name, _, _ in server.requests] == ["md5sums"]
    assert in_raw(tmp_path) == arrays_of(files)


def test_http_source_without_md5sums_is_downloaded_each_time(get, serve, files, tmp_path):
    server = serve()
    assert "verified by their contents" in get(source=server.url)
    assert in_raw(tmp_path) == arrays_of(files)
    server.files[SMALL] = npz_bytes(np.arange(5, dtype=np.uint8))
    get(source=server.url)
    assert in_raw(tmp_path) == arrays_of(files | {SMALL: server.files[SMALL]})


SIX = npz_bytes(np.zeros(6, np.uint8))  # labels, for five images


def break_off(server):
    """At 404 bytes, which is a status and not any number in the reason of a failure."""
    server.files["md5sums"] += b"\n" * 1000
    server.faults["md5sums"] = [("cut", 404.5 / len(server.files["md5sums"]))]


FAULTY = {
    "no sums": lambda server: server.files.update(md5sums=b"<!doctype html>"),
    "empty": lambda server: server.files.update(md5sums=b""),
    "no text": lambda server: server.files.update(md5sums=b"\xff\xfe\x00"),
    "others' sums": lambda server: server.files.update(md5sums=md5sums({"a": b""})),
    "sums fail": lambda server: server.faults.update(md5sums=[500]),  # and are not dropped
    "sums break off": break_off,
}


@pytest.mark.parametrize("fault", FAULTY)
def test_http_source_is_refused_in_one_line(refused, serve, files, fault):
    server = serve()
    server.files["md5sums"] = md5sums(files)
    FAULTY[fault](server)
    text = refused(source=server.url)
    assert text.startswith(f"{server.url}/md5sums")
    if fault in ("no sums", "empty"):
        assert "Two ways out" in text
        assert ("it is empty" if fault == "empty" else "it starts with '<!doctype html>'") in text


@pytest.mark.parametrize("sums", [False, True])
def test_http_source_with_other_content(get, refused, serve, files, tmp_path, sums):
    """Named by its address, not by where it lies; in nobody's way once the server has the right."""
    server = serve()
    server.files[SMALL] = SIX
    if sums:
        server.files["md5sums"] = md5sums(server.files)
    else:
        server.faults = {name: ["html"] for name in NAMES}
        assert server.url in refused(source=server.url)
    text = refused(source=server.url)
    assert f"{server.url}/{SMALL} 6 labels" in text
    assert "downloads" not in text
    server.files |= {SMALL: files[SMALL], **({"md5sums": md5sums(files)} if sums else {})}
    get(source=server.url)
    assert in_raw(tmp_path) == arrays_of(files)


def test_http_source_with_another_sum(refused, serve, files):
    server = serve()
    server.files["md5sums"] = md5sums(files | {SMALL: b"something else"})
    text = refused(source=server.url)
    for part in ("wrong content", md5(b"something else"), f"{server.url}/{SMALL}"):
        assert part in text


def test_http_source_without_md5sums_goes_on_and_never_resumes(
    get, refused, serve, files, tmp_path
):
    """Without a sum nobody could tell whether both halves are of the same file."""
    server = serve()
    del server.files[SMALL]
    server.faults[BIG] = [("cut", 0.7)]
    refused(source=server.url)
    assert SMALL in refused(source=server.url)
    server.files[SMALL] = files[SMALL]
    get(source=server.url)
    assert {header for header, _ in server.asked(BIG)} == {None}
    assert in_raw(tmp_path) == arrays_of(files)


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
    other = refused(source="ftp://somebody:secret@example.org/k49")
    assert other == "data.source: ftp://example.org/k49: only http and https addresses"


# a folder as source


@pytest.mark.parametrize("sums", [False, True])
def test_folder(get, files, tmp_path, monkeypatch, sums):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder_of(files | ({"md5sums": md5sums(files)} if sums else {}), tmp_path / "mirror")
    said = get(source="~/mirror")
    assert in_raw(tmp_path) == arrays_of(files)
    assert said.startswith("5 files copied from ")
    assert said.endswith("md5sums and their contents" if sums else "verified by their contents")


def test_missing_folder(refused, tmp_path):
    text = refused(source=str(tmp_path / "nowhere"))
    assert all(word in text for word in (str(tmp_path / "nowhere"), "data.source", "standin"))


@pytest.mark.parametrize(
    ("sums", "says"),
    [
        (lambda files: md5sums(files | {SMALL: b"another"}), [SMALL, md5(b"another")]),
        (lambda files: md5sums({BIG: files[BIG]}), ["no MD5 sum of k49-"]),
        (lambda files: b"\xff\xfe\x00", ["md5sums"]),
        (lambda files: md5sums(files).replace(md5(files[SMALL]).encode(), b"\xff" * 32), [SMALL]),
    ],
)
def test_folder_with_other_sums(refused, files, tmp_path, sums, says):
    source = folder_of(files | {"md5sums": sums(files)}, tmp_path / "mirror")
    text = refused(source=str(source))
    assert str(source) in text
    assert all(each in text for each in says)


WRONG = [
    (BIG, None),
    (BIG, npz_bytes(np.zeros((300, 28, 27), np.uint8))),
    (BIG, npz_bytes(np.zeros((299, 28, 28), np.uint8))),
    (SMALL, npz_bytes(np.full(5, 49, np.uint8))),
    (SMALL, npz_bytes(np.zeros(5, np.float32))),
    ("k49_classmap.csv", b"index,codepoint,char\n"),
    ("k49_classmap.csv", class_map(CHARACTERS).replace("い", "あ").encode()),
    (BIG, npz_bytes(np.zeros((300, 28, 28), np.uint8))),
    ("k49-test-imgs.npz", npz_bytes(np.full((5, 28, 28), 255, np.uint8))),
]


@pytest.mark.parametrize(("name", "content"), WRONG)
@pytest.mark.parametrize("sums", [False, True], ids=["without md5sums", "with md5sums"])
def test_folder_with_wrong_content(refused, files, tmp_path, name, content, sums):
    files = {key: each for key, each in (files | {name: content}).items() if each is not None}
    source = folder_of(files | ({"md5sums": md5sums(files)} if sums else {}), tmp_path / "mirror")
    text = refused(source=str(source))
    assert str(source) in text
    assert name in text


@pytest.mark.parametrize("number", [2, 3, 200])
def test_test_images_that_are_train_images(get, refused, files, tmp_path, number):
    """Was taken without a word: leakage would read as a superb test accuracy. Few are told."""
    train = np.load(io.BytesIO(files[BIG]))["arr_0"]
    test = np.random.default_rng(1).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    test[:number] = train[7 : 7 + number]
    labels = npz_bytes(np.arange(200, dtype=np.uint8) % 49)
    source = folder_of(
        files | {"k49-test-imgs.npz": npz_bytes(test), SMALL: labels}, tmp_path / "mirror"
    )
    if number == 2:
        assert "2 of 200 test images are train images, too" in get(source=str(source))
    else:
        said = f"{source / 'k49-test-imgs.npz'}: {number} of 200 images are train images, too"
        assert said in refused(source=str(source))


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
