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
    app = make_app(make_service(FakeEngine(), requests_per_minute=1), max_body_bytes=4096)
    answers = ask(app, models, question(), models, question())
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].json()["error"]["message"] == (
        "this client may ask 1 questions a minute; try again later"
    )


def test_a_request_for_several_answers_counts_as_so_many_and_is_taken_in_its_time() -> None:
    time = [100.0]
    rates = Rates(6, clock=lambda: time[0])

    def ask_for(questions: int) -> None:
        rates.spend("a")
        rates.spend_rest("a", questions)

    ask_for(4)
    with pytest.raises(ApiError) as caught:
        ask_for(4)
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "20"})
    time[0] += 20.0
    ask_for(4)
    with pytest.raises(ApiError) as caught:
        rates.spend("a")
    assert caught.value.headers == {"Retry-After": "10"}


def test_a_request_for_more_than_a_minute_allows_is_refused_for_good_and_costs_nothing() -> None:
    time = [100.0]
    rates = Rates(6, clock=lambda: time[0])
    rates.spend("a")
    with pytest.raises(ApiError) as caught:
        rates.spend_rest("a", 7)
    assert (caught.value.status, caught.value.code) == (400, "too_many_answers")
    for _ in range(6):
        rates.spend("a")


def test_each_answer_to_each_prompt_counts() -> None:
    body = {"model": "demo", "prompt": ["one", "two"], "n": 2, "max_tokens": 1}
    several = {"method": "POST", "url": "/v1/completions", "json": body}
    service = make_service(FakeEngine(), queue_size=16, requests_per_minute=5)
    app = make_app(service, max_body_bytes=4096)
    answers = ask(app, several, question(n=6), several, question(), question())
    assert [answer.status_code for answer in answers] == [200, 400, 429, 200, 429]
    assert answers[1].json()["error"]["message"] == (
        "the request asks for 6 answers, prompts times n; a client may ask 5 questions a minute, so"
        " send them in several requests"
    )
