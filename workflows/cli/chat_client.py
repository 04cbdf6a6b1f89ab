"""Ask an inference service, wherever it is."""

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
    """A service that can be asked."""

    name: str
    """Of the service and of the tuned model."""
    endpoint: str
    """URL, for a person."""
    base: str | None = None
    """The base model, where it is known without asking."""
    log: str
    """Where to look when it says nothing."""
    connect: Callable[[float], AbstractContextManager[http.client.HTTPConnection]]
    """A new connection whose reads take at most that many seconds."""


def ask(served: Served, prompt: str, **options: Any) -> str:
    """The answer to one prompt. Raises CliError with the server's own words."""
    answer = _request(served, "POST", "/chat", {"prompt": prompt, **options})
    return str(answer["response"])


def models_of(served: Served) -> list[str]:
    """The names of the models that it serves, the tuned one first."""
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
    """The server's words, in OpenAI's form of an error."""
    try:
        return str(answer["error"]["message"])
    except (KeyError, TypeError):
        return json.dumps(answer)
