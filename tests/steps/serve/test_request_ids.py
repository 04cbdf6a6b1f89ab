from __future__ import annotations

import logging
import re

import pytest

from argotune.steps.serve.app import make_app
from argotune.steps.serve.request_ids import NameRequest
from tests.fakes.engine import FakeEngine
from tests.steps.serve.conftest import ask, make_service, question

APP = make_app(make_service(FakeEngine()), max_body_bytes=4096)
NEW_ID = re.compile(r"req-[0-9a-f]{32}")
GET_MODELS = {"method": "GET", "url": "/v1/models"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [("my-id_1.0", True), ("a b", False), ("x" * 65, False), ("", False), ('"\\n', False)],
)
def test_a_clients_own_id_is_kept_if_it_is_one_word(given: str, kept: bool) -> None:
    for request in (question(), question(stream=True), GET_MODELS):
        (response,) = ask(APP, {**request, "headers": {"X-Request-Id": given}})
        request_id = response.headers["x-request-id"]
        assert request_id == given if kept else NEW_ID.fullmatch(request_id)


@pytest.mark.parametrize(
    "request_", [question(n="x"), {"method": "GET", "url": "/nix"}, question(pad="x" * 5000)]
)
def test_errors_have_the_id(request_: dict[str, object]) -> None:
    (response,) = ask(APP, request_)
    assert response.json()["request_id"] == response.headers["x-request-id"]


def test_a_bug_is_answered_and_logged_with_the_id(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(make_service(FakeEngine()), max_body_bytes=4096)

    @app.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError

    names_requests = NameRequest()
    caplog.handler.addFilter(names_requests)
    with caplog.at_level(logging.INFO, "argotune"):
        (response,) = ask(app, {"method": "GET", "url": "/bug"})
    caplog.handler.removeFilter(names_requests)
    request_id = response.headers["x-request-id"]
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "internal error; see the server's log"
    assert f"failed request request={request_id}" in caplog.text
    assert "ZeroDivisionError" in caplog.text
