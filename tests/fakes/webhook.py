"""A webhook on loopback that keeps what it gets and answers as told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

from tests.fakes.listening import listening


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request."""

    path: str
    content_type: str
    message: dict[str, Any]


@dataclass
class Inbox:
    """What the webhook got; each request takes the next status, 204 when there is none left."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    """Of each answer."""
    body: bytes = b""


class _Handler(BaseHTTPRequestHandler):
    inbox: ClassVar[Inbox]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        call = Call(
            path=self.path,
            content_type=self.headers["Content-Type"],
            message=json.loads(body),
        )
        self.inbox.calls.append(call)
        self.send_response(self.inbox.statuses.pop(0) if self.inbox.statuses else 204)
        for name, value in self.inbox.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.inbox.body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: tests read the inbox."""


@contextmanager
def webhook(*statuses: int) -> Iterator[Inbox]:
    """Listen while the block runs."""
    inbox = Inbox(statuses=[*statuses])
    with listening(_Handler, inbox=inbox) as port:
        inbox.url = f"http://127.0.0.1:{port}/services/T0/secret-path?token=secret-query"
        yield inbox
