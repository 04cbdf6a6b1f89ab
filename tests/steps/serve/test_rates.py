from __future__ import annotations

import pytest

from argotune.steps.serve.app import make_app
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.rates import Rates
from tests.fakes.engine import FakeEngine
from tests.steps.serve.conftest import ask, make_service, question


def test_a_client_has_its_questions_of_a_minute_at_once_and_then_at_their_rate() -> None:
    time = [100.0]
    rates = Rates(6, clock=lambda: time[0])
    for _ in range(6):
        rates.spend("a")
    with pytest.raises(ApiError) as caught:
        rates.spend("a")
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.headers == {"Retry-After": "10"}
    rates.spend("b")
    time[0] += 10.0
    rates.spend("a")
    with pytest.raises(ApiError):
        rates.spend("a")


def test_clients_that_have_their_whole_bucket_are_forgotten() -> None:
    time = [0.0]
    rates = Rates(6, clock=lambda: time[0])
    for number in range(100):
        rates.spend(f"client {number}")
        time[0] += 60.0
    assert len(rates._full_at) == 1


def test_questions_count_and_looking_on_does_not() -> None:
    models = {"method": "GET", "url": "/v1/models"}
    app = make_app(make_service(FakeEngine()), max_body_bytes=4096, requests_per_minute=1)
    answers = ask(app, models, question(), models, question())
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].json()["error"]["message"] == (
        "this client may ask 1 questions a minute; try again later"
    )
