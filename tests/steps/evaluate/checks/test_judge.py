from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.contracts.checks import CheckResult, Judge
from argotune.steps.evaluate.checks.judge import (
    JudgeClient,
    JudgeKey,
    fill_in,
    read_key,
    read_score,
)
from argotune.steps.evaluate.checks.rows import AnsweredRow, Score
from argotune.steps.evaluate.checks.run import judge_opener, run_checks
from argotune.steps.web.guard import GuardedTransport, UrlPolicy
from tests.fakes.judge import FakeJudge, Refusal, fake_judge

ROW = AnsweredRow(prompt="What is 1 + 1?", reference="2", answer="two {reference}")
PROMPT = 'Q: {prompt} A: {answer} Right: {reference} Form: {"score": 1}'


@pytest.fixture
def judge() -> Iterator[FakeJudge]:
    with fake_judge() as served:
        yield served


def spec(judge: FakeJudge, **fields: Any) -> Judge:
    return Judge(**{"url": judge.url, "model": "m", "prompt": PROMPT, "min": 0.8, **fields})


def transport(*, allow_loopback: bool = True) -> httpx.BaseTransport:
    return GuardedTransport(UrlPolicy(allow_loopback=allow_loopback))


def ask(check: Judge, pauses: list[float] | None = None, **fields: Any) -> Score:
    sleep = ([] if pauses is None else pauses).append
    client = JudgeClient(check, transport(), sleep=sleep, **fields)
    try:
        return client.score(ROW)
    finally:
        client.close()


def results(check: Judge, rows: int = 1) -> CheckResult:
    [found] = run_checks([check], [ROW] * rows, open_judge=judge_opener(transport, None))
    return found


def test_score_is_the_mean_share_of_the_scale(judge: FakeJudge) -> None:
    judge.reply = lambda question: "It is right.\nScore: 8/10"
    found = results(spec(judge), rows=20)
    assert (found.score, found.passed, found.rows) == (0.8, True, 20)
    assert found.examples[0].reason == "the judge gave 8 of 10"
    assert len(judge.bodies) == 20


def test_judge_sees_the_rows_texts_and_how_to_reply(judge: FakeJudge) -> None:
    ask(spec(judge))
    [body] = judge.bodies
    assert body["messages"][1]["content"] == (
        'Q: What is 1 + 1? A: two {reference} Right: 2 Form: {"score": 1}'
    )
    assert "from 0 to 10" in body["messages"][0]["content"]
    assert (body["model"], body["temperature"]) == ("m", 0)


def test_temperature_is_left_out_where_it_is_null(judge: FakeJudge) -> None:
    ask(spec(judge, temperature=None))
    assert "temperature" not in judge.bodies[0]


def test_key_is_sent_to_its_own_api_alone(judge: FakeJudge) -> None:
    ask(spec(judge), key=JudgeKey(text="k", base_url=f"{judge.url}/"))
    ask(spec(judge), key=JudgeKey(text="k"))
    ask(spec(judge))
    assert judge.keys == ["Bearer k", None, None]


def test_judge_that_is_busy_is_asked_again_when_it_says(judge: FakeJudge) -> None:
    replies: list[str | Refusal] = [Refusal(status=429, headers={"Retry-After": "7"}), "9"]
    judge.reply = lambda question: replies.pop(0)
    pauses: list[float] = []
    assert ask(spec(judge), pauses).value == 0.9
    assert pauses == [7]


def test_judge_that_stays_down_fails_the_step_as_transient(judge: FakeJudge) -> None:
    judge.reply = lambda question: Refusal(status=503)
    pauses: list[float] = []
    with pytest.raises(TransientError, match=r"gave no answer: 503 Service Unavailable: .*refused"):
        ask(spec(judge), pauses)
    assert pauses == [1, 2, 4, 8]


def test_judge_that_nobody_serves_fails_the_step_as_transient() -> None:
    with fake_judge() as judge:
        pass
    with pytest.raises(TransientError, match="gave no answer"):
        ask(spec(judge))


@pytest.mark.parametrize(
    ("status", "key", "advice"),
    [
        (401, None, "put the API's key as OPENAI_API_KEY into the Secret argotune-judge"),
        (401, "http://other.example/v1", "is sent to http://other.example/v1 alone; name this URL"),
        (401, "", "is OPENAI_API_KEY of the Secret argotune-judge right?"),
        (404, "", "the model's name right?"),
    ],
)
def test_refusal_says_what_to_do_and_not_the_key(
    judge: FakeJudge, status: int, key: str | None, advice: str
) -> None:
    judge.reply = lambda question: Refusal(status=status)
    given = None if key is None else JudgeKey(text="k-secret", base_url=key or judge.url)
    with pytest.raises(PermanentError, match=f"check judge: .* answered {status} ") as caught:
        ask(spec(judge), key=given)
    assert advice in str(caught.value)
    assert "k-secret" not in str(caught.value)


def test_reply_that_is_not_openais_is_refused(judge: FakeJudge) -> None:
    judge.reply = lambda question: {"answer": "10"}
    with pytest.raises(PermanentError, match="something other than OpenAI's API does"):
        ask(spec(judge))


def test_reply_without_a_score_scores_0_and_is_shown(judge: FakeJudge) -> None:
    replies = ["10", "I cannot tell."]
    judge.reply = lambda question: replies.pop(0)
    found = results(spec(judge), rows=2)
    assert (found.score, found.passed) == (0.5, False)
    assert found.examples[0].reason == "the judge gave no score: 'I cannot tell.'"


def test_judge_that_never_gives_a_score_fails_the_step(judge: FakeJudge) -> None:
    judge.reply = lambda question: "Well.\x1b[2J"
    with pytest.raises(PermanentError, match="none of 2 replies of m ends with a score") as caught:
        results(spec(judge), rows=2)
    assert "\x1b" not in str(caught.value)


def test_judge_inside_the_network_is_not_asked(judge: FakeJudge) -> None:
    opener = judge_opener(lambda: transport(allow_loopback=False), None)
    with pytest.raises(PermanentError, match="internal or special address"):
        run_checks([spec(judge)], [ROW], open_judge=opener)
    assert not judge.bodies


def test_redirect_is_not_followed(judge: FakeJudge) -> None:
    judge.reply = lambda question: Refusal(status=307, headers={"Location": judge.url})
    with pytest.raises(PermanentError, match="answered 307"):
        ask(spec(judge))
    assert len(judge.bodies) == 1


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("8", 8),
        ("Good.\n\n**7.5**\n", 7.5),
        ("Score: 8/10.", 8),
        ("score = 0", 0),
        ("8/5", None),
        ("11", None),
        ("-1", None),
        ("- score: -1", None),
        ("It deserves 8", None),
        ("8\nThat is all.", None),
        ("", None),
    ],
)
def test_score_is_the_last_line_alone(reply: str, score: float | None) -> None:
    assert read_score(reply, 10) == score


def test_texts_of_a_row_are_not_filled_in_themselves() -> None:
    assert fill_in("{answer}|{other}", ROW) == "two {reference}|{other}"


def test_key_loses_the_newline_of_its_file_and_must_fit_a_header() -> None:
    assert read_key({"OPENAI_API_KEY": "k\n"}) == JudgeKey(text="k")
    given = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://judge.example/v1"}
    assert read_key(given) == JudgeKey(text="k", base_url="https://judge.example/v1")
    assert read_key({}) is None
    with pytest.raises(PermanentError, match="characters that no HTTP header takes"):
        read_key({"OPENAI_API_KEY": "k\nX-Other: 1"})
