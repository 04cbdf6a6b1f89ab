"""A judge behind an API as OpenAI's, over a socket: it says what a test has it say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.fakes.listening import listening


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An HTTP error in place of a reply."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class FakeJudge:
    """Answers POST /v1/chat/completions with what `reply` says to a question."""

    reply: Callable[[str], str | Refusal | dict[str, Any]] = lambda question: "10"
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""


@contextmanager
def fake_judge() -> Iterator[FakeJudge]:
    """Serve until the block ends."""
    judge = FakeJudge()
    with listening(_Handler, judge=judge) as port:
        judge.url = f"http://127.0.0.1:{port}/v1"
        yield judge


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    judge: FakeJudge

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._send(404, {"error": {"message": "no such path"}})
            return
        self.judge.bodies.append(body)
        self.judge.keys.append(self.headers["Authorization"])
        reply = self.judge.reply(body["messages"][-1]["content"])
        if isinstance(reply, Refusal):
            self._send(reply.status, {"error": {"message": "refused"}}, reply.headers)
        elif isinstance(reply, dict):
            self._send(200, reply)
        else:
            message = {"role": "assistant", "content": reply}
            self._send(200, {"choices": [{"index": 0, "message": message}]})

    def _send(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
