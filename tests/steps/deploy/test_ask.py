"""deploy's question to the new service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from argotune.steps.deploy.ask import ask
from tests.fakes.listening import listening


@contextmanager
def answering(*replies: tuple[int, dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A service that gives these replies in turn, and the bodies that it was sent."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, reply = replies[len(asked) - 1]
            body = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with listening(Handler) as port:
        yield f"http://127.0.0.1:{port}", asked


def test_an_answer_without_end_is_cut_and_says_so() -> None:
    with answering((200, {"response": "on and on", "finish_reason": "length"})) as (url, asked):
        assert ask(url, "Hello?", timeout_seconds=30) == "on and on…"
    assert asked == [{"prompt": "Hello?", "max_new_tokens": 128}]


def test_a_whole_answer_has_no_ellipsis_and_a_long_one_has() -> None:
    with answering((200, {"response": "x" * 500, "finish_reason": "stop"})) as (url, _):
        assert ask(url, "Hello?", timeout_seconds=30) == "x" * 500
    with answering((200, {"response": "x" * 501, "finish_reason": "stop"})) as (url, _):
        assert ask(url, "Hello?", timeout_seconds=30) == "x" * 500 + "…"


def test_a_context_shorter_than_that_is_its_own_limit() -> None:
    refused = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    replies = (400, refused), (200, {"response": "Yes.", "finish_reason": "stop"})
    with answering(*replies) as (url, asked):
        assert ask(url, "Hello?", timeout_seconds=30) == "Yes."
    assert asked[1] == {"prompt": "Hello?"}
