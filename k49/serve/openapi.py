"""The server's description in the form of OpenAPI 3.1, for people and for generators of clients."""

from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from k49.pictures.files import Received
from k49.serve.reading import MOST_BODY, MOST_PICTURES, Encoded, Query


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
    """Describe the one operation that reads."""
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
    """Point to a schema."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def get(summary: str, kind: str = "application/json") -> dict[str, Any]:
    """Describe an operation that takes nothing."""
    found = {"description": summary, "content": {kind: {}}}
    return {"summary": summary, "responses": {"200": found}}
