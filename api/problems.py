"""Errors to people and programs: RFC 9457 problem details. What was wrong, where, and what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

RETRY_AFTER_S = 5
CLIENT_GONE = 499
"""What the log says of a request whose client went away in the middle of it; nobody reads the answer."""


class FieldProblem(BaseModel):
    """One fault of a request."""

    field: str = Field(description="Where it is, empty for the whole request.")
    reason: str = Field(description="What is wrong with it.")


class Problem(BaseModel):
    """RFC 9457 problem details. Further members may follow, according to the kind of problem."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="Kind of problem; about:blank means that the status says it all.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status code.")
    detail: str = Field(description="What was wrong here, and what to do.")
    errors: list[FieldProblem] | None = Field(None, description="The faults one by one, where there are several.")


class ProblemError(Exception):
    """Ends a request with problem details; further keyword arguments become further members."""

    def __init__(self, status: int, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.members = members


class UnavailableError(ProblemError):
    """A part that the answer needs is away: 503 with ``Retry-After``. Never answered with a wrong zero instead."""

    def __init__(self, part: str, detail: str, **members: Any) -> None:
        super().__init__(503, detail, headers={"Retry-After": str(RETRY_AFTER_S)}, part=part, **members)


class ProblemResponse(Response):
    """An answer of type ``application/problem+json``."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        body = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            **members,
        }
        super().__init__(orjson.dumps(body), status, headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI ``responses`` for these problem statuses."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Turn every error of the application into problem details."""

    async def on_problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return ProblemResponse(error.status, error.detail, headers=error.headers, **error.members)

    async def on_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = [
            {
                "field": ".".join(str(part) for part in fault["loc"][1:])[:200],
                "reason": str(fault["msg"]).removeprefix("Value error, ")[:300],
            }
            for fault in error.errors()[:20]
        ]
        detail = "; ".join(
            f"{fault['field']}: {fault['reason']}" if fault["field"] else fault["reason"] for fault in faults
        )
        return ProblemResponse(422, detail, errors=faults)

    async def on_http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers) if error.headers else None
        return ProblemResponse(error.status_code, error.detail, headers=headers)

    async def on_client_gone(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)

    async def on_error(_: Request, __: Exception) -> Response:
        return ProblemResponse(500, "Something went wrong here; the log tells more under this request's trace id.")

    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(ClientDisconnect, on_client_gone)
    app.add_exception_handler(Exception, on_error)
