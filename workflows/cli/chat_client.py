"""Asking an inference service, on this machine or on a cluster."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from argotune.workflows.cli.errors import CliError

_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """A service that answers prompts."""

    name: str
    """Name of the service and of the tuned model."""
    endpoint: str
    """URL, to show to a person."""
    base: str | None = None
    """The base model; None: unknown without a request."""
    log: str
    """Where its log is, for an error message."""
    connect: Callable[[float], AbstractContextManager[http.client.HTTPConnection]]
    """Opens a connection whose reads take at most that many seconds."""


def ask(served: Served, prompt: str, **options: Any) -> str:
    """Return the answer to one prompt. Raises CliError with the server's own message."""
    answer = _request(served, "POST", "/chat", {"prompt": prompt, **options})
    return str(answer["response"])


def models_of(served: Served) -> list[str]:
    """List the names of the models that it serves, the tuned one first."""
    return [str(model["id"]) for model in _request(served, "GET", "/v1/models")["data"]]


def _request(
    served: Served, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    with served.connect(_TIMEOUT_SECONDS) as connection:
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise CliError(f"{served.endpoint}: {error}; see {served.log}") from error
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise CliError(f"{served.endpoint}{path}: HTTP {response.status}, no JSON") from None
    if response.status != 200 or not isinstance(answer, dict):
        raise CliError(f"{served.endpoint}{path}: HTTP {response.status}: {_reason(answer)}")
    return answer


def _reason(answer: Any) -> str:
    """Return the server's message, from OpenAI's form of an error."""
    try:
        return str(answer["error"]["message"])
    except (KeyError, TypeError):
        return json.dumps(answer)
