"""From the body of a request to its answer, in a process that reads."""

import base64
import json
import sys
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

import multipart
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from threadpoolctl import threadpool_limits

from k49.errors import K49Error, explain
from k49.inference import models
from k49.inference.models import Model, OnnxModel
from k49.inference.predict import layout_by, predict_rows, read_all, read_picture
from k49.io import MOST_CLASSES, parse_json
from k49.model_file import SOURCE
from k49.pictures.files import UploadedPicture
from k49.serve.readers import Refused
from k49.settings import validate
from k49.text import ReadingOrder, printable

MOST_BODY = 8 << 20  # bytes of a request
MOST_PICTURES = 16  # of a request
MOST_NAME = 200  # characters of a picture's name
RAW = ("application/octet-stream", "image/")


class Query(BaseModel):
    """What may stand behind the address."""

    model_config = ConfigDict(extra="forbid")
    top: Annotated[int, Field(ge=1, le=MOST_CLASSES)] = 5
    reading_order: ReadingOrder = "auto"


def decode_base64(text: object) -> bytes:
    """Decode base64, also of a `data:` address; raises ValueError if it is none."""
    if not isinstance(text, str):
        raise ValueError("should be text in base64")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    return base64.b64decode("".join(text.split()), validate=True)


Picture = Annotated[
    bytes,
    BeforeValidator(decode_base64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


class Encoded(BaseModel):
    """A body of JSON."""

    model_config = ConfigDict(extra="forbid")
    images: Annotated[list[Picture], Field(min_length=1, max_length=MOST_PICTURES)]


def open_model(path: Path, content: bytes | None = None) -> OnnxModel:
    """Open a model: a file of ONNX, or the one in a project's folder.

    Args:
        path: of the file or the folder.
        content: of the file, if it was read already.

    Raises:
        K49Error: there is none, or it is no ONNX.
    """
    threadpool_limits(1)  # the processes share the processors
    if path.is_dir():
        model = models.project_model(path, threads=1)
    else:
        model = models.open_model(path, threads=1)
    if not isinstance(model, OnnxModel):
        raise K49Error(
            f"{path}: has no ONNX made of its model; `dvc repro` or `k49 export` does it"
        )
    if content is not None:
        model.content = content
    model.size()  # reads it
    return model


def describe(model: OnnxModel) -> dict[str, Any]:
    """Return the path of a model and its training data, for people and for programs."""
    rights = {key: text for key, text in model.metadata.items() if key in ("licence", SOURCE)}
    metrics = model.metadata.get("metrics", "{}")
    return {
        "path": str(model.path),
        "file": model.path.name,
        "data": model.dataset.name,
        "warning": model.dataset.warning,
        "classes": model.dataset.classes,
        "metrics": parse_json(metrics.encode(), f"{model.path}: metrics"),
        **rights,
    }


def read(model: Model, kind: str, query: str, body: bytes) -> tuple[bytes, int]:
    """Read the pictures of a request.

    Args:
        model: opened.
        kind: the header content-type.
        query: of the address.
        body: of the request.

    Returns:
        The answer as JSON, and how many characters were read.

    Raises:
        Refused: 400, it can't be understood; 413, too many pictures; 415, a body of another kind;
            422, none of them can be read; 500, a fault of a library, or ours.
    """
    try:
        answer = read_pictures(model, kind, query, body)
    except Refused:
        raise
    except K49Error as error:
        raise Refused(400, str(error)) from error
    except Exception as error:
        print(explain(error, "send fewer pictures"), file=sys.stderr)
        raise Refused(500, "an error of the server, which says more where it runs") from error
    if not answer["rows"]:
        raise Refused(422, "; ".join(answer["errors"]) or "no pictures in the body")
    return as_json(answer), sum(row["rank"] == 1 for row in answer["rows"])


def read_pictures(model: Model, kind: str, query: str, body: bytes) -> dict[str, list]:
    """Read the pictures of a request, as `k49 predict --format json` does, and collect errors.

    Raises:
        Refused, K49Error: the request is of another form.
    """
    asked = validate(Query, dict(parse_qsl(query, keep_blank_values=True)), "query")
    layout = layout_by(model, asked.reading_order)
    read_one = partial(read_picture, dataset=model.dataset, layout=layout)
    characters, notes, faults = read_all(pictures_of(kind, body), read_one)
    if model.dataset.warning:
        notes.append(f"warning: {model.dataset.warning}")
    rows = predict_rows(model, characters, asked.top) if characters else []
    return {"rows": rows, "notes": notes, "errors": faults}


def pictures_of(content_type: str, body: bytes) -> list[UploadedPicture]:
    """Return the pictures of a request.

    Raises:
        Refused: 415, its body is of another kind; 413, too many.
        K49Error: the body is not of its content-type.
    """
    kind, options = multipart.parse_options_header(content_type)
    if kind == "multipart/form-data":
        return of_form(body, options.get("boundary", ""))
    if kind == "application/json":
        sent = validate(Encoded, parse_json(body, "body"), "body")
        return [UploadedPicture(f"images[{i}]", content) for i, content in enumerate(sent.images)]
    if kind.startswith(RAW):
        return [UploadedPicture("body", body)]
    raise Refused(
        415,
        f"a body of {printable(kind, 80) or 'no known kind'}; send image/png or the like, "
        "multipart/form-data or application/json",
    )


def of_form(body: bytes, boundary: str) -> list[UploadedPicture]:
    """Return the files of a form.

    Raises:
        Refused: 413, they are too many.
        K49Error: it is no form, or a field is no file.
    """
    bounds = {"part_limit": MOST_PICTURES, "spool_limit": MOST_BODY, "memory_limit": MOST_BODY}
    pictures = []
    try:
        form = multipart.MultipartParser(BytesIO(body), boundary, len(body), strict=True, **bounds)
        for number, part in enumerate(form):
            if part.filename is None:
                raise K49Error(f"body: field {printable(part.name, 80)} is no file")
            name = printable(part.filename, MOST_NAME) or f"file {number}"
            pictures.append(UploadedPicture(name, part.raw))
    except multipart.ParserLimitReached as error:
        raise Refused(413, f"body: {error}; {MOST_PICTURES} pictures at most") from error
    except multipart.MultipartError as error:
        raise K49Error(f"body: no form: {error}") from error
    return pictures


def as_json(content: dict) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
