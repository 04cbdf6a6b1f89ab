"""Error responses in the format of OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

_JSON = re.compile(r"application/([\w.-]+\+)?json\b", re.IGNORECASE)


class ApiError(Exception):
    """An error response with its HTTP status and, for retries, headers."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON body of the response."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def server_error() -> ApiError:
    """The response for an internal error, whose details are only in the log."""
    return ApiError(500, "internal error; see the server's log", kind="server_error")


def add_error_handlers(app: FastAPI) -> None:
    """Answer all errors in this format, without stack traces."""

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return JSONResponse(error.body(), error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        kind = request.headers.get("Content-Type", "none")
        if not _JSON.match(kind):
            # Browsers send forms to other origins without a preflight request, but not JSON.
            message = f"the body's Content-Type is {kind}; send application/json"
            return JSONResponse(ApiError(415, message).body(), 415)
        problems = [_problem(dict(problem)) for problem in error.errors()]
        body = ApiError(400, "; ".join(problems), code="invalid_request").body()
        return JSONResponse(body, 400)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}"
        body = ApiError(error.status_code, message).body()
        return JSONResponse(body, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        # uvicorn logs it.
        return JSONResponse(server_error().body(), 500)


def _problem(problem: dict[str, Any]) -> str:
    """A problem reported by pydantic as FIELD: MESSAGE."""
    if problem["type"] == "json_invalid":
        return f"the body is not JSON: {problem['ctx']['error']}"
    place = ".".join(str(part) for part in problem["loc"] if part != "body")
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
