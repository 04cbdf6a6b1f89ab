from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI

from argotune.steps.serve.app import make_app
from argotune.steps.serve.keys import ClientKeys
from argotune.steps.serve.metrics import MOST_CLIENTS, OTHER_CLIENTS, Metrics
from argotune.steps.serve.page.routes import add_page_routes
from tests.fakes.engine import FakeEngine
from tests.steps.serve.conftest import ask, make_service, question

KEY = "sk-anna-0123456789"


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    """An application that knows one key."""
    file = tmp_path / "keys"
    file.write_text(f"anna: {KEY}\n")
    return make_app(make_service(FakeEngine()), max_body_bytes=4096, keys=ClientKeys(file))


def test_a_key_lets_its_client_ask_and_counts_for_it(app: FastAPI) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    answer, metrics = ask(
        app, {**question(), "headers": headers}, {"method": "GET", "url": "/metrics"}
    )
    assert answer.status_code == 200
    counted = 'argotune_requests_total{client="anna",path="/v1/chat/completions",status="200"} 1.0'
    assert counted in metrics.text
    usage = answer.json()["usage"]
    for kind, tokens in (("prompt", "prompt_tokens"), ("answer", "completion_tokens")):
        sample = f'argotune_{kind}_tokens_total{{client="anna",model="demo"}} {usage[tokens]}.0'
        assert sample in metrics.text


def test_keys_that_come_and_go_make_no_time_series_without_end() -> None:
    metrics = Metrics()
    labels = {metrics.client(f"key-{number}") for number in range(2 * MOST_CLIENTS)}
    assert len(labels) == MOST_CLIENTS + 1
    assert metrics.client("key-0") == "key-0"
    assert metrics.client("another") == OTHER_CLIENTS


@pytest.mark.parametrize(
    ("header", "code", "message"),
    [
        (None, None, "You didn't provide an API key. "),
        ("Bearer ", None, "You didn't provide an API key. "),
        (f"Basic {KEY}", None, "You didn't provide an API key. "),
        (f"Bearer {KEY}x", "invalid_api_key", "Incorrect API key provided."),
        (b"Bearer \xe4", "invalid_api_key", "Incorrect API key provided."),
    ],
)
def test_without_its_key_nobody_is_answered(
    app: FastAPI, header: str | bytes | None, code: str | None, message: str
) -> None:
    headers = {} if header is None else {"Authorization": header}
    for request in (question(), {"method": "GET", "url": "/v1/models"}):
        (refused,) = ask(app, {**request, "headers": headers})
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        error = refused.json()["error"]
        assert error["message"].startswith(message)
        assert (error["type"], error["code"]) == ("invalid_request_error", code)


def test_probes_prometheus_and_the_page_need_no_key(app: FastAPI, tmp_path: Path) -> None:
    add_page_routes(app, tmp_path, digest=None)
    answers = ask(app, *({"method": "GET", "url": url} for url in ("/health", "/metrics", "/")))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
