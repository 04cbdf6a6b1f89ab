"""Asking an inference service, on this machine or on a cluster."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from argotune.workflows.cli.errors import CliError

KEY_VARIABLE = "ARGOTUNE_API_KEY"
"""Environment variable with the key of a client of services."""
_TIMEOUT_SECONDS = 300.0
_EVENT = b"data: "
_LAST_EVENT = b"[DONE]"


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
    key: str | None = None
    """A client's key, for a service that answers only those; None: that of KEY_VARIABLE."""
    connect: Callable[[float], AbstractContextManager[http.client.HTTPConnection]]
    """Opens a connection whose reads take at most that many seconds."""


@dataclass
class Ending:
    """How a streamed answer ended; complete when all its pieces have been read."""

    finish_reason: str | None = None
    """`stop`, or `length` when the answer was cut; None: it has not ended."""
    tokens: int | None = None
    """Of the answer."""


@dataclass(frozen=True)
class Streamed:
    """An answer while it is made. Closing `pieces` ends it on the server too."""

    pieces: Iterator[str]
    """Texts, which together are the answer. Raises CliError with the server's own message."""
    ending: Ending = field(default_factory=Ending)


def ask(served: Served, prompt: str, **options: Any) -> str:
    """Return the answer to one prompt. Raises CliError with the server's own message."""
    return ask_with_ending(served, prompt, **options)[0]


def ask_with_ending(served: Served, prompt: str, **options: Any) -> tuple[str, str | None]:
    """Return the answer to one prompt, and its finish_reason, which old servers do not say.

    Raises CliError with the server's own message.
    """
    answer = _request(served, "POST", "/chat", {"prompt": prompt, **options})
    return str(answer["response"]), answer.get("finish_reason")


def stream(served: Served, messages: Sequence[dict[str, str]], **options: Any) -> Streamed:
    """Ask for the next turn of a conversation, with OpenAI's options of a chat completion."""
    body = {
        "model": served.name,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        **options,
    }
    ending = Ending()
    return Streamed(_pieces(served, body, ending), ending)


def models_of(served: Served) -> dict[str, str | None]:
    """Map the names of the models that it serves to their base models, its own model first.

    A base model has none.
    """
    models = _request(served, "GET", "/v1/models")["data"]
    return {str(model["id"]): model.get("parent") for model in models}


def _pieces(served: Served, body: dict[str, Any], ending: Ending) -> Iterator[str]:
    path = "/v1/chat/completions"
    with _response(served, "POST", path, body) as response:
        if response.status != 200:
            raise _refusal(served, path, response.status, response.read())
        for line in response:
            if not line.startswith(_EVENT):
                continue
            data = line.removeprefix(_EVENT).strip()
            if data == _LAST_EVENT:
                return
            yield from _read_chunk(served, path, data, ending)
    raise CliError(f"{served.endpoint}{path}: the answer was cut off; see {served.log}")


def _read_chunk(served: Served, path: str, data: bytes, ending: Ending) -> Iterator[str]:
    """Yield the text of a chunk, and note in `ending` what it says of the end."""
    chunk = _json_of(served, path, 200, data)
    if "error" in chunk:
        raise CliError(f"{served.endpoint}{path}: {_reason(chunk)}")
    for choice in chunk.get("choices") or ():
        ending.finish_reason = choice.get("finish_reason") or ending.finish_reason
        if text := choice["delta"].get("content"):
            yield str(text)
    if usage := chunk.get("usage"):
        ending.tokens = int(usage["completion_tokens"])


def _request(
    served: Served, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    with _response(served, method, path, body) as response:
        data = response.read()
    if response.status != 200:
        raise _refusal(served, path, response.status, data)
    return _json_of(served, path, response.status, data)


@contextmanager
def _response(
    served: Served, method: str, path: str, body: dict[str, Any] | None
) -> Iterator[http.client.HTTPResponse]:
    headers = {"Content-Type": "application/json"}
    if key := served.key or os.environ.get(KEY_VARIABLE):
        headers["Authorization"] = f"Bearer {key}"
    with served.connect(_TIMEOUT_SECONDS) as connection:
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise CliError(f"{served.endpoint}: {error}; see {served.log}") from error


def _refusal(served: Served, path: str, status: int, data: bytes) -> CliError:
    reason = _reason(_json_of(served, path, status, data))
    if status == 401:
        reason = f"{reason} For this command it is read from ${KEY_VARIABLE}."
    return CliError(f"{served.endpoint}{path}: HTTP {status}: {reason}")


def _json_of(served: Served, path: str, status: int, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode(errors="replace"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CliError(f"{served.endpoint}{path}: HTTP {status}, no JSON")
    return value


def _reason(answer: dict[str, Any]) -> str:
    """Return the server's message, from OpenAI's form of an error."""
    try:
        return str(answer["error"]["message"])
    except (KeyError, TypeError):
        return json.dumps(answer)
