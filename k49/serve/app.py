"""The addresses of the server, their answers, and the bodies of requests on their way in.

Bodies are bounded in size, time and number, and large ones lie on disk, so that memory stays low.
openapi.yaml describes all addresses.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
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
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from k49.io import read_yaml
from k49.serve.readers import Readers, Refused
from k49.serve.reading import MOST_BODY
from k49.text import printable

PROBLEM = "application/problem+json"  # RFC 9457
HEADERS = {"x-content-type-options": "nosniff"}
RETRY = {"retry-after": "1"}  # seconds
MOST_ARRIVING = 128  # requests whose bodies are on their way
IN_MEMORY = 64 << 10  # bytes of a body above which it lies on disk until it is read
MOST_DIGITS = 10  # of a length
GRACE = 0.2  # seconds that an arriving body has before a new one may take its place
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)  # seconds


def document() -> dict[str, Any]:
    """Return the server's description in the form of OpenAPI 3.1."""
    content = read_yaml(Path(__file__).with_name("openapi.yaml"))
    content["info"]["version"] = version("k49")
    return content


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


def application(readers: Readers, hosts: Sequence[str], origins: Sequence[str]) -> Starlette:
    """Return the application.

    Args:
        readers: started.
        hosts: names that requests may be sent to; "*" for all.
        origins: of pages that may ask, as https://example.org; "*" for all.
    """
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
            return problem(404, f"no {page.name} next to the model; `dvc repro` makes one")
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
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["POST"]),
    ]
    handlers = {404: not_found, 405: not_allowed}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
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
