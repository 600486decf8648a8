"""The server's description in the form of OpenAPI 3.1, for people and for generators of clients."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from tempfile import SpooledTemporaryFile
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from k49.pictures.files import Received
from k49.serve.readers import Readers, Refused
from k49.serve.reading import MOST_BODY, MOST_PICTURES, Encoded, Query
from k49.text import printable

PROBLEM = "application/problem+json"  # RFC 9457
HEADERS = {"x-content-type-options": "nosniff"}
RETRY = {"retry-after": "1"}  # seconds
MOST_ARRIVING = 128  # requests whose bodies are on their way
IN_MEMORY = 64 << 10  # bytes of a body above which it lies on disk until it is read
MOST_DIGITS = 10  # of a length
GRACE = 0.2  # seconds that an arriving body has before a new one may take its place
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)  # seconds


class Row(BaseModel):
    """A candidate for a character, as `k49 predict --format json` prints it."""

    image: str = Field(description="the picture's name, with [0], [1], ... if it shows several")
    rank: int = Field(ge=1, description="1 is the likeliest")
    character: str = Field(description="the class")
    code_point: str = Field(description="of the character in Unicode, as U+3042")
    probability: float = Field(
        ge=0, le=1, description="calibrated: of those with 0.9, 9 in 10 are right"
    )
    uncertain: bool = Field(description="the highest probability is below the model's threshold")
    outlier: bool = Field(description="unlike all images that the model was trained on")


class Answer(BaseModel):
    """What was read."""

    rows: list[Row]
    notes: list[str] = Field(description="what is doubtful, and what the data warn of")
    errors: list[str] = Field(description="of pictures that can't be read; the others are in rows")


class Problem(BaseModel):
    """Why a request isn't answered (RFC 9457)."""

    status: int
    detail: str


REFUSALS = {
    400: "The request can't be understood",
    408: "The body took too long to arrive",
    413: f"More than {MOST_BODY:,} bytes or {MOST_PICTURES} pictures, or it takes too long to read",
    415: "The body is of another kind",
    422: "None of the pictures can be read",
    503: "Too much to do; try again after so many seconds",
}


def document() -> dict[str, Any]:
    """Return the description; its schemas are those by which requests are checked."""
    _, schemas = models_json_schema(
        [(model, "validation") for model in (Encoded, Answer, Problem)],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "k49", "version": version("k49"), "summary": "Reads single characters"},
        "paths": {
            "/v1/predict": {"post": predict()},
            "/v1/model": {"get": get("What the model was trained on, and how well it reads")},
            "/openapi.json": {"get": get("This description")},
            "/healthz": {"get": get("Whether requests are answered")},
            "/metrics": {"get": get("Counts and times for Prometheus", "text/plain")},
            "/": {"get": get("A page that reads in the browser, without this server", "text/html")},
        },
        "components": {"schemas": schemas["$defs"]},
    }


def predict() -> dict[str, Any]:
    picture: dict[str, dict] = {"schema": {}}  # bytes, as OpenAPI 3.1 says
    files = {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
    problem = {"application/problem+json": {"schema": ref(Problem)}}
    top = Query.model_json_schema()["properties"]["top"]
    return {
        "operationId": "predict",
        "summary": f"Read pictures of {', '.join(Received.KINDS)}",
        "description": "Each shows a character, or several that stand clear of each other in a "
        f"column or a row, and has {Received.MOST_PIXELS:,} pixels at most.",
        "parameters": [
            {"name": "top", "in": "query", "schema": top, "description": "characters to name"}
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": picture,
                "application/octet-stream": picture,
                "multipart/form-data": {"schema": files},
                "application/json": {"schema": ref(Encoded)},
            },
        },
        "responses": {
            "200": {
                "description": "What was read, in the order of the pictures",
                "content": {"application/json": {"schema": ref(Answer)}},
            },
            **{
                str(status): {"description": meaning, "content": problem}
                for status, meaning in REFUSALS.items()
            },
        },
    }


def ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def get(summary: str, kind: str = "application/json") -> dict[str, Any]:
    found = {"description": summary, "content": {kind: {}}}
    return {"summary": summary, "responses": {"200": found}}


class Arrivals:
    """The bodies that are on their way, each with a time limit."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.clocks: dict[asyncio.Timeout, float] = {}  # of each body, and its start; oldest first

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[SpooledTemporaryFile]:
        """Take in a request's body; while the block runs, it lies in a file, in memory if small.

        Raises:
            Refused: 413, too large; 408, too slow; 503, too many are on their way.
        """
        length = request.headers.get("content-length", "0")
        if len(length) > MOST_DIGITS or not length.isdecimal() or int(length) > MOST_BODY:
            raise too_large()
        self.make_room()
        clock = asyncio.timeout(self.seconds)
        with SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            self.clocks[clock] = time.monotonic()
            try:
                async with clock:
                    async for chunk in request.stream():
                        if file.tell() + len(chunk) > MOST_BODY:
                            raise too_large()
                        file.write(chunk)
            except TimeoutError:
                raise Refused(408, "the body took too long to arrive") from None
            finally:
                self.clocks.pop(clock, None)
            yield file

    def make_room(self) -> None:
        """End the oldest arrival if there are too many.

        Raises:
            Refused: 503, the oldest is young.
        """
        if len(self.clocks) < MOST_ARRIVING:
            return
        oldest, begun = next(iter(self.clocks.items()))
        if time.monotonic() - begun < GRACE:
            raise Refused(503, "too many requests arrive at once")
        del self.clocks[oldest]
        oldest.reschedule(asyncio.get_running_loop().time())


def too_large() -> Refused:
    return Refused(413, f"the body has more than {MOST_BODY:,} bytes; send fewer pictures at once")


class Counts:
    """Numbers for Prometheus: requests, characters, seconds, and requests of the moment."""

    def __init__(self, arriving: Callable[[], int], waiting: Callable[[], int]) -> None:
        self.all = all_ = CollectorRegistry()
        self.requests = Counter("k49_requests", "Requests, by status", ["status"], registry=all_)
        self.characters = Counter("k49_characters", "Characters read", registry=all_)
        self.seconds = Histogram(
            "k49_request_seconds", "From headers to answer", buckets=BUCKETS, registry=all_
        )
        now = Gauge("k49_arriving", "Requests whose bodies are on their way", registry=all_)
        now.set_function(arriving)
        now = Gauge("k49_waiting", "Requests that wait for a process", registry=all_)
        now.set_function(waiting)
        ProcessCollector(registry=all_)

    def count(self, status: int, characters: int, seconds: float) -> None:
        self.requests.labels(status).inc()
        self.characters.inc(characters)
        self.seconds.observe(seconds)


def application(readers: Readers) -> Starlette:
    arrivals = Arrivals(readers.limits.seconds)
    counts = Counts(lambda: len(arrivals.clocks), lambda: readers.waiting)
    page = readers.path.with_name("reader.html")

    async def predict(request: Request) -> Response:
        start, characters = time.perf_counter(), 0
        try:
            async with arrivals.body(request) as file:
                kind, query = request.headers.get("content-type", ""), request.url.query
                content, characters = await readers.read(kind, query, file)
            response = Response(content, headers=HEADERS, media_type="application/json")
        except ClientDisconnect:
            response = Response(status_code=400)  # nobody gets it
        except Refused as refused:
            response = problem(refused.status, refused.detail)
        counts.count(response.status_code, characters, time.perf_counter() - start)
        return response

    async def home(_: Request) -> Response:
        if not page.is_file() or not page.stat().st_size:
            return problem(404, f"no {page.name} beside the model; `dvc repro` makes one")
        return FileResponse(page, headers=HEADERS)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(counts.all), headers={"content-type": CONTENT_TYPE_LATEST})

    routes = [
        Route("/", home),
        Route("/v1/predict", predict, methods=["POST"]),
        Route("/v1/model", constant(readers.facts)),
        Route("/openapi.json", constant(document())),
        Route("/healthz", constant({"status": "ok"})),
        Route("/metrics", metrics),
    ]
    app = Starlette(routes=routes, exception_handlers={404: not_found, 405: not_allowed})
    app.router.redirect_slashes = False  # else to the host that the client names
    return app


def constant(content: dict) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return JSONResponse(content, headers=HEADERS)

    return answer


async def not_found(request: Request, _: Exception) -> Response:
    return problem(404, f"nothing is at {printable(request.url.path, 80)}; see /openapi.json")


async def not_allowed(request: Request, error: Exception) -> Response:
    response = problem(405, f"{request.method} does nothing there; see /openapi.json")
    response.headers.update((isinstance(error, HTTPException) and error.headers) or {})  # allow
    return response


def problem(status: int, detail: str) -> Response:
    headers = HEADERS | (RETRY if status == HTTPStatus.SERVICE_UNAVAILABLE else {})
    content = {"status": status, "detail": printable(detail)}
    return JSONResponse(content, status, headers, PROBLEM)
