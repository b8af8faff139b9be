"""Every error of the API as application/problem+json (RFC 9457), from one place.

In: exceptions of routes, of FastAPI and of the ports. Out: problems; a 503 carries Retry-After. A refusal carries the
same code and JSON Pointer as over Kafka and on the command line (errors.Code).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from inventorybot import telemetry
from inventorybot.errors import BadEvent, Code, SetupError, TryLater

RETRY_AFTER_S = 5
"""A broker or database that restarts is back within seconds."""
MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """RFC 9457 problem details. `code` and `path` are those of errors.Code, where an event was refused."""

    type: str = Field(default="about:blank", description="URI reference of the kind of problem")
    title: str
    status: int
    detail: str
    instance: str | None = Field(default=None, description="path of the request")
    code: str | None = Field(default=None, description="why an input was refused; stable", examples=["out-of-range"])
    path: str | None = Field(
        default=None, description="JSON Pointer to the field at fault", examples=["/data/quantity"]
    )
    part: str | None = Field(default=None, description="what does not answer", examples=["kafka"])
    errors: list[dict[str, Any]] | None = Field(default=None, description="everything that was found wrong, one by one")
    parts: dict[str, Any] | None = Field(default=None, description="what each part said, of /readyz")


class Refuse(Exception):  # it reads as what it does
    """A route's way to answer with a problem. Args: extra: further members of the problem."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **extra: object) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.extra = status, detail, headers, extra


def problem(
    status: int, detail: str, instance: str | None = None, headers: Mapping[str, str] | None = None, **extra: object
) -> JSONResponse:
    """A problem as a response; members that are None are left out."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    body |= {"instance": instance} if instance else {}
    body |= {name: value for name, value in extra.items() if value is not None}
    return JSONResponse(body, status, dict(headers or {}), media_type=MEDIA_TYPE)


def unavailable(error: TryLater, instance: str | None = None) -> JSONResponse:
    """A part we depend on does not answer: the same request will work when it does."""
    detail = f"{error.part} does not answer; send the same again later, it does no harm ({error.reason})"
    return problem(503, detail, instance, {"Retry-After": str(RETRY_AFTER_S)}, part=error.part)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: these problems, besides the ones that every route may answer with."""
    every = {*statuses, 422, 503}
    return {status: response(HTTPStatus(status).phrase) for status in sorted(every)}


def response(description: str) -> dict[str, Any]:
    """A problem as an OpenAPI response; `Problem` itself is put into the components by app.py."""
    return {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def install(app: FastAPI) -> None:
    """Answer every error with a problem."""
    app.add_exception_handler(Refuse, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(TryLater, _later)
    app.add_exception_handler(BadEvent, _bad)
    app.add_exception_handler(SetupError, _setup)
    app.add_exception_handler(Exception, _bug)


def faults(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """FastAPI's validation errors, as pointers into the body or names of parameters."""
    found = []
    for error in errors:
        where, *rest = error["loc"] or ("body",)
        if where == "body":
            steps = "".join("/" + str(s).replace("~", "~0").replace("/", "~1") for s in rest)
            place = {"pointer": "" if error["type"] == "json_invalid" else steps}
        else:
            place = {"parameter": "/".join(map(str, rest)) or where}
        found.append(place | {"detail": error["msg"]})
    return found


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refuse)
    return problem(error.status, error.detail, request.url.path, error.headers, **error.extra)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = faults(error.errors())
    first = found[0]
    place = first.get("parameter") or first.get("pointer") or "the body"
    missing = error.errors()[0]["type"] == "missing"
    not_json = error.errors()[0]["type"] == "json_invalid"
    code = Code.NOT_JSON if not_json else Code.MISSING_FIELD if missing else None
    return problem(
        422, f"{place}: {first['detail']}", request.url.path, code=code, path=first.get("pointer"), errors=found
    )


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # only FastAPI says so, of a body that it cannot even decode
        return problem(422, "the body is not JSON in UTF-8", request.url.path, code=Code.NOT_JSON, path="")
    detail = {
        404: f"there is nothing at {request.url.path}; see /openapi.json",
        405: f"{request.method} is not possible here; see the header Allow",
    }.get(error.status_code, str(error.detail))
    code = Code.TOO_LARGE if error.status_code == 413 else None
    return problem(error.status_code, detail, request.url.path, error.headers, code=code)


async def _later(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TryLater)
    return unavailable(error, request.url.path)


async def _bad(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BadEvent)
    return problem(422, error.reason, request.url.path, code=str(error.code), path=error.path)


async def _setup(request: Request, error: Exception) -> JSONResponse:
    """The tables or topics are not there (yet): the installation's fault, and it passes once it is migrated."""
    return problem(503, str(error), request.url.path, {"Retry-After": str(RETRY_AFTER_S)})


async def _bug(request: Request, error: Exception) -> JSONResponse:
    """A fault of ours: told in full to the log, not to the caller."""
    telemetry.log(__name__).error("request failed", path=request.url.path, exc_info=error)
    return problem(500, "a fault in InventoryBot; its log has the details", request.url.path)
