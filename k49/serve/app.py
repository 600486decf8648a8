"""The addresses of the server, and what they answer."""

import time
from http import HTTPStatus
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from k49.ending import described
from k49.serve.arrivals import Arrivals
from k49.serve.counts import Counts
from k49.serve.limits import Refused
from k49.serve.readers import Readers
from k49.shown import printable

PROBLEM = "application/problem+json"  # RFC 9457
HEADERS = {"x-content-type-options": "nosniff"}
RETRY = {"retry-after": "1"}  # seconds


class Service:
    """What answers: with the processes that read, and the page."""

    def __init__(self, readers: Readers) -> None:
        self.readers = readers
        self.arrivals = Arrivals(readers.limits)
        self.counts = Counts(lambda: len(self.arrivals.clocks), lambda: readers.waiting)
        self.page = Path(readers.facts["file"]).with_name("reader.html")

    async def predict(self, request: Request) -> Response:
        """Read the pictures of a request."""
        start, characters = time.perf_counter(), 0
        try:
            response, characters = await self.answer(request)
        except ClientDisconnect:
            response = Response(status_code=400)  # nobody gets it
        except Refused as refused:
            response = problem(refused.status, refused.detail)
        except Exception as error:
            response = problem(500, described(error, "send fewer pictures"))
        self.counts.request(response.status_code, characters, time.perf_counter() - start)
        return response

    async def answer(self, request: Request) -> tuple[Response, int]:
        """Take a request in and read it; return the answer, and how many characters it has.

        Raises:
            Refused: as of `Arrivals.body` and `Readers.read`.
        """
        async with self.arrivals.body(request) as file:
            kind, query = request.headers.get("content-type", ""), request.url.query
            content, characters = await self.readers.read(kind, query, file)
        return Response(content, headers=HEADERS, media_type="application/json"), characters

    async def about(self, _: Request) -> Response:
        """Say what the model was trained on."""
        return JSONResponse(self.readers.facts, headers=HEADERS)

    async def metrics(self, _: Request) -> Response:
        """Tell Prometheus."""
        return Response(self.counts.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def home(self, _: Request) -> Response:
        """Show the page that reads in the browser itself."""
        if not self.page.is_file() or not self.page.stat().st_size:
            return problem(404, f"no {self.page.name} beside the model; `dvc repro` makes one")
        return FileResponse(self.page, headers=HEADERS)


async def openapi(_: Request) -> Response:
    """Describe all this."""
    from k49.serve.openapi import document  # Pydantic takes a moment: only now

    return JSONResponse(document(), headers=HEADERS)


async def health(_: Request) -> Response:
    """Say that requests are answered."""
    return JSONResponse({"status": "ok"}, headers=HEADERS)


async def not_found(request: Request, _: Exception) -> Response:
    """Answer where nothing is."""
    return problem(404, f"nothing is at {printable(request.url.path, 80)}; see /openapi.json")


async def not_allowed(request: Request, _: Exception) -> Response:
    """Answer where this method does nothing."""
    return problem(405, f"{request.method} does nothing there; see /openapi.json")


def problem(status: int, detail: str) -> Response:
    """Return an answer that says what is wrong."""
    headers = HEADERS | (RETRY if status == HTTPStatus.SERVICE_UNAVAILABLE else {})
    content = {"status": status, "detail": printable(detail)}
    return JSONResponse(content, status, headers, PROBLEM)


def application(service: Service) -> Starlette:
    """Return the application, for a server that speaks ASGI."""
    routes = [
        Route("/", service.home),
        Route("/v1/predict", service.predict, methods=["POST"]),
        Route("/v1/model", service.about),
        Route("/openapi.json", openapi),
        Route("/healthz", health),
        Route("/metrics", service.metrics),
    ]
    return Starlette(routes=routes, exception_handlers={404: not_found, 405: not_allowed})
