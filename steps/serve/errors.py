"""Error responses in the format of OpenAI's API, of bounded size and with the request's id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from argotune.steps.serve.request_ids import current_request_id

_JSON = re.compile(r"application/([\w.-]+\+)?json\b", re.IGNORECASE)
_FIRST_WORD = re.compile(r"\w+(\.\w+)*")
_MOST_CHARACTERS = 1000
"""Of a message; it may quote what was sent. In JSON a character takes up to 6 bytes."""
_MOST_PROBLEMS = 8
_MOST_CHARACTERS_OF_NAME = 60


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
        self.message = _shown(message, _MOST_CHARACTERS)
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON body of the response."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error, "request_id": current_request_id()}

    def response(self) -> JSONResponse:
        """The response."""
        return JSONResponse(self.body(), self.status, self.headers)


def server_error() -> ApiError:
    """The response to any error of our own."""
    return ApiError(
        500, "internal error; see the server's log", kind="server_error", code="internal_error"
    )


def too_long(param: str, has: str, most: int) -> ApiError:
    """The response to a question for which the context is too short; `has` says its length."""
    what = "conversation" if param == "messages" else param
    return ApiError(
        400,
        f"the {what} has {has}; the limit for {what} and answer is {most}",
        param=param,
        code="context_length_exceeded",
    )


def add_error_handlers(app: FastAPI) -> None:
    """Answer all errors in this format; RequestIds answers bugs."""

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        kind = request.headers.get("Content-Type", "none")
        if not _JSON.match(kind):
            # Browsers send forms to other origins without a preflight request, but not JSON.
            message = f"the body's Content-Type is {kind}; send application/json"
            return ApiError(415, message).response()
        return _invalid(error.errors(), error.body).response()

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}"
        code = None
        if error.status_code == 404:
            message += f"; this server has {', '.join(_routes(app))}"
            code = "unknown_url"
        elif error.status_code == 405:
            message += f"; it takes {(error.headers or {}).get('Allow')}"
            code = "method_not_supported"
        return ApiError(error.status_code, message, code=code, headers=error.headers).response()


def _routes(app: FastAPI) -> list[str]:
    """Method and path of each route, for whoever asks for another."""
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    return sorted(
        f"{method} {route.path.replace(':path', '')}"
        for route in routes
        for method in route.methods or ()
    )


def _invalid(problems: Sequence[Mapping[str, Any]], body: Any) -> ApiError:
    """The refusal of a body, with its first problems."""
    texts = [_problem(problem, body) for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > len(texts):
        texts.append(f"and {len(problems) - len(texts)} more problems")
    param = _param(problems[0], body) if problems else None
    return ApiError(400, "; ".join(texts), param=param, code="invalid_request")


def _param(problem: Mapping[str, Any], body: Any) -> str | None:
    """The parameter that a problem is about; what does not go together is told by its first one."""
    if place := _place(problem, body):
        return place
    word = _FIRST_WORD.match(_message(problem))
    return word[0] if word and _has(body, word[0].partition(".")[0]) else None


def _problem(problem: Mapping[str, Any], body: Any) -> str:
    """A problem reported by pydantic as FIELD: MESSAGE."""
    place, message = _place(problem, body), _message(problem)
    return f"{place}: {message}" if place else message


def _message(problem: Mapping[str, Any]) -> str:
    """What pydantic says, in words of JSON where its own are of Python."""
    match problem["type"]:
        case "json_invalid":
            return f"the body is not JSON: {problem['ctx']['error']}"
        case "extra_forbidden":
            return "this server has no such parameter; leave it out"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "Input should be an object"
        case "missing" if len(problem["loc"]) == 1:
            return "the body is empty; send a JSON object"
        case "union_tag_not_found":
            return "Field required"
        case "union_tag_invalid":
            return f"{problem['ctx']['tag']!r} is none of {problem['ctx']['expected_tags']}"
        case _:
            return str(problem["msg"]).removeprefix("Value error, ")


def _place(problem: Mapping[str, Any], body: Any) -> str:
    """Where in the body the problem is, such as messages.0.role."""
    if problem["type"] == "json_invalid":
        return ""
    parts, here = [], body
    for part in problem["loc"][1:]:
        if _has(here, part):
            here = here[part]
        elif problem["type"] != "missing" or part != problem["loc"][-1]:
            # Which of several forms pydantic looked at; the client did not write it.
            continue
        parts.append(_shown(str(part), _MOST_CHARACTERS_OF_NAME))
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        # The member by which a form is told, in quotes; a function has none.
        name = problem["ctx"]["discriminator"]
        parts += [name.strip("'")] if name.startswith("'") else []
    return ".".join(parts)


def _has(value: Any, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _shown(text: str, most: int) -> str:
    """The text with at most so many characters, and without halves of surrogate pairs."""
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return whole if len(whole) <= most else f"{whole[: most - 3]}..."
