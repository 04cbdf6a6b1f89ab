from __future__ import annotations

import logging

import pytest

from argotune.steps.serve.app import make_app
from tests.fakes.engine import FakeEngine
from tests.steps.serve.conftest import ask, make_service, question

HEALTH = {"method": "GET", "url": "/health"}


def test_one_failed_answer_is_logged_and_no_end() -> None:
    engine = FakeEngine()
    service = make_service(engine)
    ended: list[str] = []
    service.on_failure(ended.append)
    engine.error = "out of everything"
    failed, health = ask(make_app(service, max_body_bytes=4096), question(), HEALTH)
    assert (failed.status_code, health.status_code, ended) == (500, 200, [])


def test_an_engine_that_fails_while_nobody_asks_ends_the_server_at_the_next_probe() -> None:
    engine = FakeEngine()
    service = make_service(engine)
    ended: list[str] = []
    service.on_failure(ended.append)
    engine.failure = "its process was killed"
    health, again = ask(make_app(service, max_body_bytes=4096), HEALTH, HEALTH)
    assert (health.status_code, again.status_code) == (503, 503)
    assert ended == ["its process was killed"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_can_answer_no_more_is_not_healthy_and_ends_the_server(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine()
    service = make_service(engine)
    ended: list[str] = []
    service.on_failure(ended.append)
    engine.error, engine.breaks = "device-side assert", True
    app = make_app(service, max_body_bytes=4096)
    with caplog.at_level(logging.WARNING, "argotune"):
        asked, health, models, again = ask(
            app, question(stream=stream), HEALTH, {"method": "GET", "url": "/v1/models"}, question()
        )
    assert asked.status_code == (200 if stream else 500)
    assert "internal error" in asked.text
    for refused in (health, models, again):
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "engine_failed"
        assert "device" not in refused.text
    assert ended == ["device-side assert"]
    assert "failed-answer reason=" in caplog.text
    (metrics,) = ask(app, {"method": "GET", "url": "/metrics"})
    assert "argotune_ready 0.0" in metrics.text
