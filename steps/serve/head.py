"""HEAD as HTTP has it: what GET answers, without the body."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class AnswerHead:
    """ASGI middleware that has HEAD answered as GET; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # A copy, because uvicorn looks into its own at what it leaves out.
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
