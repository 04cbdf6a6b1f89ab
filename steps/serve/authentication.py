"""Who asks: the name of the client's key, where the server has keys, or else its address."""

from __future__ import annotations

from contextvars import ContextVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.keys import ClientKeys
from argotune.steps.serve.outcomes import note_client
from argotune.steps.serve.rates import Rates

OPEN_PATHS = frozenset({"/", "/health", "/metrics"})
"""Answered without a key, which probes and Prometheus do not have, and the page itself asks for."""

_CURRENT: ContextVar[str] = ContextVar("client", default="")


def current_client() -> str:
    """Whose request this task answers: one name for a client, however many connections it has."""
    return _CURRENT.get()


def set_client(name: str) -> None:
    """Say whose request this task answers."""
    _CURRENT.set(name)


class Authentication:
    """ASGI middleware: status 401, in OpenAI's words, without a valid key; 429 beyond the rate."""

    def __init__(self, app: ASGIApp, *, keys: ClientKeys | None, rates: Rates) -> None:
        """`keys`: None where everybody may ask."""
        self._app = app
        self._keys = keys
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note whose request it is and pass it on, or refuse it before its body is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            client = self._client(scope)
            set_client(client)
            if scope["method"] == "POST":
                self._rates.spend(client)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _client(self, scope: Scope) -> str:
        """Name of the key, or the peer's address. Raises ApiError 401."""
        if self._keys is None or scope["path"] in OPEN_PATHS:
            host, _ = scope.get("client") or ("", 0)
            return f"address {host}"
        name = self._keys.name_of(_presented(scope))
        if name is None:
            raise _refusal("Incorrect API key provided.", code="invalid_api_key")
        note_client(name)
        return name


def _presented(scope: Scope) -> str:
    """The key of the Authorization header. Raises ApiError 401 if there is none."""
    kind, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise _refusal(
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
    return key.strip()


def _refusal(message: str, *, code: str | None = None) -> ApiError:
    return ApiError(401, message, code=code, headers={"WWW-Authenticate": "Bearer"})
