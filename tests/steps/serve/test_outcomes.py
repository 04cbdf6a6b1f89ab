from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from argotune.steps.serve.app import make_app
from tests.fakes.engine import FakeEngine
from tests.steps.serve.conftest import ask, make_service, question

PATH = "/v1/chat/completions"


def counted(service: Any) -> dict[tuple[str, str], float]:
    """Requests by path and status."""
    return {
        (sample.labels["path"], sample.labels["status"]): sample.value
        for metric in service.metrics.requests.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


def test_a_stream_that_takes_too_long_is_counted_as_such() -> None:
    engine = FakeEngine()
    engine.hold()
    service = make_service(engine, timeout_seconds=0.05)
    (response,) = ask(make_app(service, max_body_bytes=4096), question(stream=True))
    assert response.status_code == 200
    assert "no complete answer within 0.05 s" in response.text
    assert counted(service) == {(PATH, "504"): 1.0}


def test_a_stream_whose_client_leaves_is_counted_as_such() -> None:
    engine = FakeEngine()
    service = make_service(engine)
    app = make_app(service, max_body_bytes=4096)
    body = json.dumps(question(stream=True)["json"]).encode()
    messages = [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive() -> Any:
        if len(messages) == 1:
            # The client has seen the beginning when it leaves.
            while not sent:
                await asyncio.sleep(0)
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)
        await asyncio.sleep(0)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "scheme": "http",
        "root_path": "",
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 200
    assert counted(service) == {(PATH, "499"): 1.0}
    assert engine.running == 0


def test_each_question_has_a_line_of_the_log_and_no_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app(make_service(FakeEngine()), max_body_bytes=4096)
    secret = question(messages=[{"role": "user", "content": "my secret"}])
    with caplog.at_level(logging.INFO, "argotune"):
        ask(app, secret, {"method": "GET", "url": "/health"}, {"method": "GET", "url": "/x?y=z"})
    lines = [line for line in caplog.messages if line.startswith("answered")]
    assert [line.partition(" seconds=")[0] for line in lines] == [
        f"answered path={PATH} status=200",
        "answered path=other status=404",
    ]
    assert "secret" not in caplog.text
