"""How the server ends after SIGTERM; the times are those of steps/contracts/ending.py."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLL_SECONDS = 0.05


class Ending:
    """How far the server's end has come."""

    def __init__(self) -> None:
        self.closes_connections = False
        """Whether each connection is closed with its next answer."""
        self._on_refusal: list[Callable[[], None]] = []

    def on_refusal(self, refuse: Callable[[], None]) -> None:
        """Have a function called, in the event loop, when what waits is to be refused."""
        self._on_refusal.append(refuse)

    def refuse_waiting(self) -> None:
        """Refuse what waits."""
        for refuse in self._on_refusal:
            refuse()


class EndingServer(uvicorn.Server):
    """uvicorn, which hands its clients over to another server before it ends."""

    def __init__(
        self,
        config: uvicorn.Config,
        ending: Ending,
        *,
        hand_over_seconds: float,
        later: socket.socket | None = None,
    ) -> None:
        """`later` is a listening socket that it takes connections from after SIGUSR1."""
        super().__init__(config)
        self._ending = ending
        self._hand_over_seconds = hand_over_seconds
        self._later = later

    def give_up(self) -> None:
        """End at once; there is nothing to hand over."""
        self._hand_over_seconds = 0.0
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and wait for the signal to listen at the other socket too."""
        await super().startup(sockets)
        if self._later is not None:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGUSR1, self._take_over, self._later)

    def _take_over(self, listener: socket.socket) -> None:
        task = asyncio.ensure_future(self._listen_also(listener))
        self._taking_over = task

    async def _listen_also(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.Protocol:
            protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
                _loop=loop,
            )
            return protocol

        server = await loop.create_server(connection, sock=listener, backlog=self.config.backlog)
        self.servers.append(server)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Hand over, refuse what waits, and let what is being answered come to its end."""
        for server in self.servers:
            server.close()
        self._ending.closes_connections = True
        deadline = time.monotonic() + self._hand_over_seconds
        while self.server_state.connections and time.monotonic() < deadline:
            if self.force_exit:
                break
            await asyncio.sleep(_POLL_SECONDS)
        self._ending.refuse_waiting()
        await super().shutdown(sockets)


class CloseConnections:
    """ASGI middleware: while the server ends, every response closes its connection.

    A client that keeps connections learns so that it needs a new one. If they were closed between
    two requests instead, it could have sent the next one just then, and would not know whether that
    was answered.
    """

    def __init__(self, app: ASGIApp, *, ending: Ending) -> None:
        self._app = app
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._ending.closes_connections:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, closing)
