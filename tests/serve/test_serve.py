"""`k49 serve` as a process: what it answers, what it refuses, and what it lives through."""

import base64
import json
import re
import resource
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from shutil import which

import numpy as np
import pytest
import requests
from jsonschema import validate
from openapi_spec_validator import validate as validate_openapi
from PIL import Image

from k49 import cli
from k49.errors import K49Error
from k49.pictures.files import UploadedPicture
from k49.serve.reading import MOST_BODY, MOST_PICTURES
from tests.helpers import ROOT, encoded, environment, ink, lacks, saved
from tests.serve.served import PICTURE, Served

MOST_MEMORY = 400 << 20  # bytes
SECONDS = 3.0  # --timeout of the server that most tests share
BLANK = encoded(Image.new("L", (60, 60), 200))


@pytest.fixture(scope="module")
def served(model):
    found = Served(model.parent, "--model", model, "--workers", 2, "--timeout", SECONDS)
    yield found
    assert found.end() == 130


@pytest.fixture(scope="module")
def schemas(served):
    document = requests.get(f"{served.address}/openapi.json", timeout=60).json()
    validate_openapi(document)
    text = json.dumps(document)
    assert f"{MOST_BODY:,} bytes or {MOST_PICTURES} pictures" in text
    assert f"{UploadedPicture.MOST_PIXELS:,} pixels" in text
    assert ", ".join(UploadedPicture.KINDS) in text
    return document


def conforms(response: requests.Response, document: dict) -> None:
    """Fail unless an answer is one of those that the server describes."""
    described = document["paths"]["/v1/predict"]["post"]["responses"][str(response.status_code)]
    kind = response.headers["content-type"]
    schema = described["content"][kind]["schema"] | {"components": document["components"]}
    validate(response.json(), schema)


# what it answers


def test_names_of_other_machines_are_refused(served):
    """Against pages that let their own name stand for this machine's address (DNS rebinding)."""
    port = served.address.rpartition(":")[2]
    for host, status in ((f"localhost:{port}", 200), ("evil.example", 400)):
        assert (
            requests.get(f"{served.address}/healthz", headers={"host": host}).status_code == status
        )
    assert (
        "access-control-allow-origin"
        not in requests.get(
            f"{served.address}/healthz", headers={"origin": "http://localhost:3000"}
        ).headers
    )


def test_pages_of_a_given_origin_may_ask(model, tmp_path):
    """Was: 405, and no word of CORS."""
    server = Served(tmp_path, "--model", model, "--allow-origin", "http://localhost:3000")
    asked = {"access-control-request-method": "POST"}
    address = f"{server.address}/v1/predict"
    for origin, status in (("http://localhost:3000", 200), ("http://other.example", 400)):
        response = requests.options(address, headers={"origin": origin, **asked})
        assert response.status_code == status
        allowed = response.headers.get("access-control-allow-origin")
        assert allowed == (origin if status == 200 else None)
    assert server.end() == 130


def test_photograph_of_a_phone_is_read(served):
    """Was: 422, more than 4,000,000 pixels."""
    photo = Image.new("RGB", (4032, 3024), (200, 190, 170))
    photo.paste(Image.fromarray(255 - ink(1500, 1500)), (1200, 700))
    response = served.post(encoded(photo, "JPEG"), "image/jpeg")
    assert response.status_code == 200
    assert len(response.json()["rows"]) == 5


def test_every_way_to_ask_is_answered_as_predict_does(served, model, schemas, tmp_path):
    (tmp_path / "a.png").write_bytes(PICTURE)
    saved(tmp_path / "b.jpg", Image.fromarray(255 - ink(40, 90)), quality=95)
    names = ["a.png", "b.jpg"]
    command = ["k49", "predict", *names, "--model", model, "--format", "json", "--top", "3"]
    options = {"cwd": tmp_path, "env": environment(tmp_path)}
    printed = subprocess.run(command, **options, capture_output=True, check=True).stdout
    expected = json.loads(printed)
    notes = {row["image"]: row["note"] for row in expected if row["note"]}
    said = [f"{name}: {note}" for name, note in notes.items()]
    contents = [(tmp_path / name).read_bytes() for name in names]
    files = [("file", (name, content)) for name, content in zip(names, contents, strict=True)]
    form = served.post(None, "", "?top=3&reading_order=vertical", files=files)
    assert form.json() == {"rows": expected, "notes": said, "errors": []}
    texts = [base64.b64encode(content).decode() for content in contents]
    texts[1] = f"data:image/jpeg;base64,{texts[1]}"
    in_json = served.post(json.dumps({"images": texts}), "application/json", "?top=3")
    raw = served.post(contents[0], "image/png", "?top=3")
    for found, named, rows in ((in_json, "images[0]", expected), (raw, "body", expected[:3])):
        conforms(found, schemas)
        assert found.json()["rows"][0]["image"] == named
        without_names = [
            [{**row, "image": ""} for row in part] for part in (found.json()["rows"], rows)
        ]
        assert without_names[0] == without_names[1]


def test_lines_of_the_page_do_what_it_says(served, tmp_path):
    for name, content in (("scan.png", PICTURE), ("another.jpg", PICTURE)):
        (tmp_path / name).write_bytes(content)
    which("curl") or lacks("curl", "curl")
    page = (ROOT / "docs/serve.md").read_text("utf-8")
    said = []
    for line in re.findall(r"^curl (.*)", page, re.MULTILINE):
        command = f"curl --silent {line.replace('http://127.0.0.1:8049', served.address)}"
        said.append(subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True))
    rows = [json.loads(each.stdout)["rows"] for each in said[:3]]
    assert [[row["image"] for row in found if row["rank"] == 1] for found in rows] == [
        ["body"],
        ["scan.png", "another.jpg"],
        ["images[0]"],
    ]
    assert [len(found) for found in rows] == [5, 2, 5]
    assert all(each.stdout and not each.returncode for each in said)
    answer, *_ = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert {*json.loads(answer)} == {"rows", "notes", "errors"}
    assert {*json.loads(answer)["rows"][0]} == {*rows[0][0]}


def test_pictures_that_cannot_be_read_are_told_beside_the_others(served, schemas):
    names = {"good.png": PICTURE, "blank.png": BLANK, "\x1b[31mred.png": b"no picture"}
    found = served.post(None, "", files=[("file", item) for item in names.items()])
    conforms(found, schemas)
    answer = found.json()
    assert {row["image"] for row in answer["rows"]} == {"good.png"}
    assert answer["errors"][0].startswith("blank.png: blank")
    assert "not a picture in a known format" in answer["errors"][1]
    assert "\x1b" not in str(answer)
    alone = served.post(BLANK)
    conforms(alone, schemas)
    assert (alone.status_code, alone.json()["detail"]) == (422, "body: blank: there is no ink")


def test_page_health_model_and_counts(served):
    def get(path):
        return requests.get(f"{served.address}{path}", timeout=60)

    assert get("/").text == "<!doctype html><title>page</title>"
    assert get("/healthz").json() == {"status": "ok"}
    about = get("/v1/model").json()
    assert (about["data"], len(about["classes"])) == ("bars", 49)
    before, _ = (get("/metrics").text, served.post(PICTURE))
    after = get("/metrics").text

    def counted(text, name):
        return float(next((x.split()[-1] for x in text.splitlines() if x.startswith(name)), 0))

    for name in ('k49_requests_total{status="200"}', "k49_characters_total"):
        assert counted(after, name) == counted(before, name) + 1
    assert get("/nothing").json()["detail"].startswith("nothing is at /nothing")
    refused = get("/v1/predict")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    moved = requests.post(f"{served.address}/v1/predict/", allow_redirects=False)
    assert moved.status_code == 404, "was: a redirect to the client's host"


# what it refuses

FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f.png"\r\n\r\n'
WIDE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x01\x86\xa0\x00\x01\x86\xa0\x08\x00\x00\x00\x00"
REFUSED = {
    "kind": (415, "text/html", b"<p>", "a body of text/html"),
    "no kind": (415, "", b"x", "no known kind"),
    "no JSON": (400, "application/json", b"{", "not valid JSON"),
    "deep JSON": (400, "application/json", b"[" * 100_000, "not valid JSON"),
    "other JSON": (400, "application/json", b'{"image": "x"}', "image: unknown key"),
    "no base64": (400, "application/json", b'{"images": ["!"]}', "images.0"),
    "no pictures": (400, "application/json", b'{"images": []}', "images"),
    "many keys": (  # was: 761 MB
        400,
        "application/json",
        json.dumps(dict.fromkeys(map(str, range(600_000)), 1)).encode(),
        "600,000 keys, 1,000 at most",
    ),
    "empty form": (422, FORM, b"--b--\r\n", "no pictures in the body"),
    "many pictures": (
        400,
        "application/json",
        json.dumps({"images": ["QUJD"] * 17}).encode(),
        "images",
    ),
    "no boundary": (400, "multipart/form-data", PART, "no form"),
    "no form": (400, FORM, b"--x--", "no form"),
    "cut off": (400, FORM, PART + PICTURE[:100], "no form"),
    "no end": (400, FORM, PART * 3, "no form"),
    "long header": (413, FORM, b"--b\r\nA: " + b"x" * 100_000, "pictures at most"),
    "no file": (400, FORM, PART.replace(b'; filename="f.png"', b"") + b"1\r\n--b--\r\n", "no file"),
    "many files": (413, FORM, (PART + b"\r\n") * 17 + b"--b--\r\n", "16 pictures at most"),
    "too large": (413, "image/png", bytes((8 << 20) + 1), "more than 8,388,608 bytes"),
    "bomb": (422, "image/png", WIDE + bytes(20), "body: "),
    "many pixels": (422, "image/png", encoded(Image.new("L", (2000, 2001))), "4,000,000"),
    "runs a program": (
        422,
        "image/eps",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "known",
    ),
    "empty": (422, "image/png", b"", "not a picture"),
}


@pytest.mark.parametrize(("status", "kind", "body", "says"), REFUSED.values(), ids=REFUSED)
def test_refusal(served, schemas, status, kind, body, says):
    found = served.post(body, kind)
    conforms(found, schemas)
    assert (found.status_code, found.json()["status"]) == (status, status)
    assert says in found.json()["detail"]


@pytest.mark.parametrize("query", ["?top=0", "?top=x", "?top=", "?bottom=1", "?reading_order=up"])
def test_query_is_refused(served, query):
    found = served.post(PICTURE, query=query)
    assert found.status_code == 400
    assert found.json()["detail"].startswith("query: ")


def test_body_without_a_length_is_bounded_too(served):
    found = served.post(bytes(1 << 20) for _ in range(9))
    assert found.status_code == 413


def test_body_that_goes_on_after_the_refusal_is_cut_off(served):
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    with served.connect() as connection:
        connection.sendall(head)
        assert connection.recv(12) == b"HTTP/1.1 413"
        with pytest.raises(OSError, match=r"reset|pipe"):
            for _ in range(1000):
                connection.sendall(bytes(1 << 20))


@pytest.mark.parametrize("how", [["--data-binary", "@a.png"], ["--form", "f=@a.png"]])
def test_offer_of_http_2_changes_nothing(served, tmp_path, how):
    """As curl and Java's HttpClient make it. Was: the body was lost."""
    which("curl") or lacks("curl", "curl")
    (tmp_path / "a.png").write_bytes(PICTURE)
    kind = ["--header", "Content-Type: image/png"] if how[0] == "--data-binary" else []
    command = ["curl", "--silent", "--http2", f"{served.address}/v1/predict", *how, *kind]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout)["rows"]


@pytest.mark.slow
def test_second_request_in_a_pipeline_may_wait_and_take_as_long_as_another(served):
    """Was: closed without an answer."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    head += b"Content-Length: "
    request = head + f"{len(PICTURE)}\r\n\r\n".encode() + PICTURE
    for reader in served.readers():
        reader.suspend()
    with served.connect() as connection:
        connection.sendall(2 * request)
        time.sleep(0.8 * SECONDS)
        for reader in served.readers():
            reader.resume()
        found = b""
        while found.count(b"HTTP/1.1 200") < 2:
            found += connection.recv(1 << 16) or pytest.fail(str(found))


# what it lives through


def memory(served) -> int:
    """Bytes of all its processes."""
    return sum(each.memory_full_info().pss for each in served.processes())


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [
        b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_heads_without_an_end_behind_an_answer(served, first):
    """Was: 243 to 403 MB."""
    before = memory(served)
    for _ in range(10):
        with served.connect() as connection, suppress(OSError):
            connection.sendall(first)
            for _ in range(10_000):
                connection.sendall(b"x-more: " + b"y" * 1000 + b"\r\n")
    assert memory(served) - before < 50 << 20


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/v1/model"])
def test_clients_that_do_not_read(served, path):
    """Six hundred, with as many files as a process may open by default."""
    resource.prlimit(served.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
    clients = [served.connect() for _ in range(600)]
    for each in clients:
        each.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert requests.get(f"{served.address}/healthz", timeout=5).status_code == 200
    assert served.post(PICTURE).status_code == 200
    for each in clients:
        each.close()


@pytest.mark.slow
def test_replaced_model_changes_no_answer_until_the_next_start(model, tmp_path):
    """Was: old and new by turns."""
    path = tmp_path / "model.onnx"
    path.write_bytes(model.read_bytes())
    served = Served(tmp_path, "--model", path, "--workers", 2)
    before = served.post(PICTURE).json()
    about = requests.get(f"{served.address}/v1/model", timeout=60).json()
    assert about["file"] == "model.onnx", "and no path of the server"
    path.unlink()
    for reader in served.readers():
        reader.kill()
        reader.wait()
    assert [served.post(PICTURE).json() for _ in range(4)] == [before] * 4
    assert requests.get(f"{served.address}/v1/model", timeout=60).json() == about
    assert served.end() == 130


@pytest.mark.slow
def test_slow_clients_are_left_and_harm_nobody(served):
    """Heads that never end, heads without an end, bodies that trickle in: seven hundred at once."""
    length = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    length += b"Content-Length: 9\r\n"
    beginnings = (b"", b"POST /v1/pre", length, length + b"\r\nabc")
    slow = [served.connect() for _ in range(700)]
    for number, connection in enumerate(slow):
        with suppress(OSError):  # its place is another's already
            connection.sendall(beginnings[number % 4])
    endless = served.connect()
    with pytest.raises(OSError, match=r"reset|pipe"):
        for _ in range(10_000):
            endless.sendall(b"x-more: " + b"y" * 1000 + b"\r\n" if _ else b"GET / HTTP/1.1\r\n")
    assert read_in_the_end(served)
    answers = []
    for connection in slow:
        with suppress(ConnectionResetError), connection.makefile("rb") as answer:
            answers.append(answer.read()[9:12])  # to the end
        connection.close()
    assert set(answers) <= {b"", b"408", b"503"}
    assert b"408" in answers


@pytest.mark.slow
def test_flood_of_bombs_and_large_pictures_leaves_memory_low_and_answers_on(served):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1400, 1400, 3), np.uint8)  # 6 MB, which a body may have
    large = encoded(Image.fromarray(noise))
    pale = encoded(Image.new("L", (2000, 2000)))
    most, done = [0], threading.Event()

    def watch():
        while not done.wait(0.1):
            most[0] = max(most[0], memory(served))

    watching = threading.Thread(target=watch)
    watching.start()
    bodies = [large, pale, WIDE, PICTURE] * 50
    with ThreadPoolExecutor(200) as clients:
        found = list(clients.map(served.post, bodies))
    done.set()
    watching.join()
    assert {each.status_code for each in found} <= {200, 408, 413, 422, 503}
    assert all("retry-after" in each.headers for each in found if each.status_code == 503)
    assert 0 < most[0] < MOST_MEMORY
    assert served.post(PICTURE).status_code == 200


def read_in_the_end(served) -> bool:
    """Whether a picture is read, perhaps after answers that ask to try again."""
    while (found := served.post(PICTURE)).status_code == 503:
        time.sleep(float(found.headers["retry-after"]))
    return found.status_code == 200


@pytest.mark.slow
def test_process_that_hangs_or_dies_is_replaced(served):
    for reader in served.readers():
        reader.suspend()
    for _ in range(2):
        found = served.post(PICTURE)
        assert (found.status_code, "takes more" in found.json()["detail"]) == (413, True)
    for reader in served.readers():
        reader.kill()  # while it is idle: was 422, as if the next picture had done it
    assert all(read_in_the_end(served) for _ in range(2)), "both are replaced"
    with ThreadPoolExecutor() as clients:
        for reader in served.readers():
            reader.suspend()
        asked = clients.submit(served.post, PICTURE)
        time.sleep(0.5)
        for reader in served.readers():
            reader.kill()
        found = asked.result()
        assert found.status_code in (422, 503), "it had begun, or not"
    assert read_in_the_end(served)


@pytest.mark.slow
def test_ctrl_c_ends_it_when_all_is_answered(model):
    served = Served(model.parent, "--model", model, "--workers", 1)
    (reader,) = served.readers()
    reader.suspend()
    with ThreadPoolExecutor() as clients:
        asked = clients.submit(served.post, PICTURE)
        while "k49_arriving 0" not in requests.get(f"{served.address}/metrics", timeout=60).text:
            time.sleep(0.05)
        time.sleep(0.2)
        served.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert served.process.poll() is None
        with pytest.raises(OSError):
            served.connect()
        reader.resume()
        assert asked.result().status_code == 200
    assert served.process.wait(60) == 130


# how it doesn't start


def refusal(folder, *options) -> str:
    """The one line that `k49 serve` ends with."""
    command = ["k49", "serve", "--port", "0", *map(str, options)]
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.onnx", "none.onnx: no such model"),
        ("reader.html", "reader.html: has no ONNX made of its model"),
        ("empty", "empty: has no ONNX made of its model"),
        ("text.onnx", "text.onnx: not a model as `k49 export` writes it"),
    ],
)
def test_model_that_it_cannot_serve(model, tmp_path, name, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.onnx").write_text("text")
    folder = model.parent if name == "reader.html" else tmp_path
    assert says in refusal(tmp_path, "--model", folder / name)


def test_address_that_is_taken_or_not_here(model, tmp_path):
    assert "--host: empty; " in refusal(tmp_path, "--model", model, "--host", "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(tmp_path, "--model", model, "--port", port)
        assert f"--host 127.0.0.1 --port {port}: Address already in use" in said
    assert "--host nowhere.invalid" in refusal(
        tmp_path, "--model", model, "--host", "nowhere.invalid"
    )


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(cli, "SERVING", ("granian", "no_such_package"))
    with pytest.raises(K49Error, match=r"needs no_such_package: `pip install -e .\.\[serve\].`"):
        cli.serve()
