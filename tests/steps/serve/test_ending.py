"""The server's end, over real HTTP, with a fake engine behind it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn

from argotune.steps.serve.admission import Admission
from argotune.steps.serve.app import make_app
from argotune.steps.serve.conversation import Conversations
from argotune.steps.serve.ending import EndingServer
from argotune.steps.serve.service import Ready, Service
from tests.fakes.engine import ANSWER, FakeEngine
from tests.steps.serve.test_app import wait_until

LONG_SECONDS = 60.0


@dataclass(frozen=True)
class Serving:
    """A server in a thread of the test."""

    engine: FakeEngine
    service: Service
    server: EndingServer
    thread: threading.Thread
    url: str

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def connections(self) -> int:
        return len(self.server.server_state.connections)

    def waiting(self) -> int:
        return self.service.ready.admission.waiting


@contextmanager
def serving(*, hand_over_seconds: float) -> Iterator[Serving]:
    engine, service = FakeEngine("demo"), Service(timeout_seconds=30)
    service.set_ready(
        Ready(engine, Conversations(engine, engine.tokenizer, name="demo"), Admission(1, 4))
    )
    config = uvicorn.Config(make_app(service, max_body_bytes=4096), port=0, log_config=None)
    server = EndingServer(config, service.ending, hand_over_seconds=hand_over_seconds)
    listener = config.bind_socket()
    listener.listen()
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Serving(engine, service, server, thread, url)
    finally:
        engine.release()
        server.give_up()
        thread.join(timeout=60)


def ask(client: httpx.Client) -> httpx.Response:
    return client.post("/chat", json={"prompt": "Who are you?"})


def test_a_connection_is_closed_with_an_answer_and_not_between_two() -> None:
    with serving(hand_over_seconds=LONG_SECONDS) as one, one.client() as client:
        assert "connection" not in ask(client).headers
        one.server.should_exit = True
        wait_until(lambda: one.service.ending.closes_connections)
        # On the connection that the client has kept.
        last = ask(client)
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        # With no connection left it ends at once.
        one.thread.join(timeout=30)
        assert not one.thread.is_alive()


def test_a_server_that_ends_takes_no_new_connections() -> None:
    with serving(hand_over_seconds=LONG_SECONDS) as one, one.client() as kept, one.client() as new:
        ask(kept)
        one.server.should_exit = True
        wait_until(lambda: one.service.ending.closes_connections)
        with pytest.raises(httpx.ConnectError):
            ask(new)


def test_what_is_answered_is_ended_and_what_waits_is_sent_elsewhere() -> None:
    with serving(hand_over_seconds=0) as one, ThreadPoolExecutor() as pool:
        one.engine.hold()
        with one.client() as first, one.client() as second:
            begun = pool.submit(ask, first)
            one.engine.wait_until_asked()
            waits = pool.submit(ask, second)
            wait_until(lambda: one.waiting() == 1)
            one.server.should_exit = True
            refused = waits.result(timeout=30)
            one.engine.release()
            answered = begun.result(timeout=30)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "shutting_down"
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["connection"] == "close"
        assert (answered.status_code, answered.json()["response"]) == (200, ANSWER)


def test_a_stream_that_was_begun_comes_to_its_end() -> None:
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": "Who are you?"}],
        "stream": True,
    }
    with serving(hand_over_seconds=0) as one, one.client() as client:
        one.engine.hold()
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            one.engine.wait_until_asked()
            one.server.should_exit = True
            wait_until(lambda: one.service.ending.closes_connections)
            one.engine.release()
            assert [line for line in lines if line][-1] == "data: [DONE]"


def test_idle_connections_hold_the_end_no_longer_than_the_hand_over() -> None:
    with serving(hand_over_seconds=0.2) as one, one.client() as idle:
        ask(idle)
        assert one.connections() == 1
        one.server.should_exit = True
        one.thread.join(timeout=30)
        assert not one.thread.is_alive()
