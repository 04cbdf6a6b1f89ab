"""What a cluster's refusals mean, and what to do about each: the one place that says so."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

import urllib3
from kubernetes.client.exceptions import ApiException

from argotune.workflows.cli.errors import CliError

# So the client tells of a WebSocket that was refused: status, headers and body.
_HANDSHAKE = re.compile(r"Handshake status (\d+) .*-\+-\+- (.*)$", re.DOTALL)
_MAY_PASS = (408, 429, 500, 502, 503, 504)


class ApiRefusal(CliError):
    """The API server answered, and not with what was asked for."""

    def __init__(self, problem: str, status: int) -> None:
        super().__init__(problem)
        self.status = status
        """The HTTP status; 0 when there was no connection to speak over."""

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered in a moment."""
        return self.status in _MAY_PASS


class Unreachable(CliError):
    """No API server answered."""


@contextlib.contextmanager
def explained(what: str, host: str) -> Iterator[None]:
    """Turn the client's errors into ours; `what` is the object or the kind that was asked for."""
    try:
        yield
    except ApiException as error:
        raise refusal(error, what) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unreachable(f"cluster {host} does not answer: {_reason(error)}") from error


def refusal(error: ApiException, what: str) -> ApiRefusal:
    """The server's own words about one request, with what to do."""
    status, message = int(error.status or 0), message_of(error)
    message = message or " ".join(str(error.reason).split())
    handshake = _HANDSHAKE.match(message)
    if handshake:
        status, message = int(handshake[1]), _message_in(handshake[2])
    if not status:
        # So the client tells of TLS.
        return ApiRefusal(f"{what}: no connection to the cluster: {message}", 0)
    said = f"{what}: the cluster answers {status}: {message}"
    advice = _advice(status, message)
    return ApiRefusal(f"{said}; {advice}" if advice else said, status)


def _advice(status: int, message: str) -> str:
    if status == 401:
        return "log in again"
    if status == 403:
        return "ask for that right; the Role argotune-user of `argotune install` has what is needed"
    if status != 404:
        return ""
    if message.startswith("namespaces "):
        return "`argotune install --create-namespace` makes it"
    if message.endswith(" not found"):
        return ""
    return "is Argo Workflows installed in this cluster?"


def message_of(error: ApiException) -> str:
    """What the server says in the body; empty where it says nothing there."""
    body = error.body or b""
    return _message_in(body.decode(errors="replace") if isinstance(body, bytes) else str(body))


def _message_in(body: str) -> str:
    """The Status object's message, which names user, verb and resource for a missing right."""
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        return ""


def _reason(error: Exception) -> str:
    # urllib3 begins with its own objects: HTTPConnection(host='...', port=...): ...
    return str(error).rpartition("): ")[2] or type(error).__name__
