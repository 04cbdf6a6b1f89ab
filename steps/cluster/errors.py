"""The errors of the API server; each class stands for one reaction to a request that failed.

ApiError
  NoCluster            permanent   no pod's account and no kubeconfig names an API server
  NoConnection         permanent   TLS or a proxy prevents the connection
  Unreachable          transient   no answer, or an answer that breaks off
  ApiRefusal                       the server's HTTP status and its own words
    PermanentRefusal   permanent   a retry is refused too
      MissingRight                 403 that names the right
    TransientRefusal   transient   408, 409, 425, 429 and 5xx: a retry may be accepted

The permanent ones are PermanentErrors of steps (exit 3), the transient ones TransientErrors
(exit 75). This module imports nothing slow, so that commands can name the errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from argotune.steps.common.errors import PermanentError, StepError, TransientError

_STATUSES_THAT_MAY_PASS = (408, 409, 425, 429, 500, 502, 503, 504)
_UNKNOWN_FIELD = "field not declared in schema"
"""Server-side apply answers 500 for it, although a retry cannot succeed."""
_RIGHT = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"(?: in API group "[^"]*")?'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)


class ApiError(StepError):
    """The API server did not carry out a request."""


class NoCluster(ApiError, PermanentError):
    """No connection is configured."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no cluster: {reason}")
        self.reason = reason
        """What is wrong with the kubeconfig."""


class NoConnection(ApiError, PermanentError):
    """No connection to the API server can be made, whatever the request."""

    def __init__(self, task: str, *, host: str, reason: str) -> None:
        super().__init__(f"cannot {task}: no connection to {host}: {reason}")
        self.reason = reason
        """What TLS, a proxy or the socket reports."""


class Unreachable(ApiError, TransientError):
    """The API server did not answer, or its answer broke off."""

    def __init__(self, task: str, *, host: str, reason: str, is_refused: bool = False) -> None:
        super().__init__(f"cannot {task}: the API server {host} does not answer: {reason}")
        self.is_refused = is_refused
        """Whether nothing listens there, which no patience with a slow server changes."""
        self.host = host
        """URL of the API server."""
        self.reason = reason
        """What the socket reports."""


class ApiRefusal(ApiError):
    """The API server answered with an error status."""

    def __init__(
        self, task: str, *, status: int, message: str, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"cannot {task}: {message}")
        self.status = status
        """The HTTP status: 403 for a missing right, 404 not found, 422 not valid."""
        self.message = message
        """The server's own message; without one, the reason phrase of the HTTP status."""
        self.details: Mapping[str, Any] = details or {}
        """Details of the Status object: name and kind of the object, causes of a conflict."""

    @property
    def is_of_object(self) -> bool:
        """Whether the object is missing, rather than its kind."""
        return self.status == 404 and (
            "name" in self.details or self.message.endswith('" not found')
        )


class PermanentRefusal(ApiRefusal, PermanentError):
    """A refusal that a retry cannot change."""


class MissingRight(PermanentRefusal):
    """The account lacks the right for the request."""

    def __init__(
        self, task: str, *, message: str, details: Mapping[str, Any] | None = None, right: str
    ) -> None:
        super().__init__(task, status=403, message=message, details=details)
        self.right = right
        """Verb, resource and scope: `list nodes in the whole cluster`."""


class TransientRefusal(ApiRefusal, TransientError):
    """A refusal that may not repeat at a retry."""


def refusal(
    task: str, *, status: int, message: str, details: Mapping[str, Any] | None = None
) -> ApiRefusal:
    """Return the error that fits the status and message of the server's answer."""
    if status in _STATUSES_THAT_MAY_PASS and _UNKNOWN_FIELD not in message:
        return TransientRefusal(task, status=status, message=message, details=details)
    right = _RIGHT.search(message) if status == 403 else None
    if right is None:
        return PermanentRefusal(task, status=status, message=message, details=details)
    where = f"namespace {right['namespace']}" if right["namespace"] else "the whole cluster"
    named = f"{right['verb']} {right['resource']} in {where}"
    return MissingRight(task, message=message, details=details, right=named)
