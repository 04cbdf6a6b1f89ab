"""What is refused of a request, by name, and that every refusal is short."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.serve import parameters
from argotune.steps.serve.app import make_app
from argotune.steps.serve.engine.interface import Sampling
from argotune.steps.serve.json_limits import MOST_VALUES
from argotune.steps.serve.parameters import HARMLESS
from tests.fakes.engine import FakeEngine
from tests.steps.serve.conftest import ask, make_service, question

USER = {"role": "user", "content": "x"}
NO_CHARACTER = "the text has half of a surrogate pair"


ENGINE = FakeEngine()
APP = make_app(make_service(ENGINE), max_body_bytes=1 << 20)


def asked(**body: Any) -> Sampling:
    """How the engine is asked the question."""
    (response,) = ask(APP, question(**body))
    assert response.status_code == 200, response.text
    return ENGINE.questions[-1].sampling


def refused(request: dict[str, Any]) -> tuple[str, str | None]:
    """Message and parameter of a refusal."""
    (response,) = ask(APP, request)
    assert response.status_code == 400
    assert len(response.content) <= 8192
    error = response.json()["error"]
    return error["message"], error["param"]


@pytest.mark.parametrize("temperature", [0, 1e-300, 1e-40, 1e-38, 9e-6])
def test_tiny_temperatures_choose_the_likeliest_token(temperature: float) -> None:
    assert asked(temperature=temperature).temperature == 0


def test_a_tiny_top_p_is_above_zero_for_the_engine_too() -> None:
    assert asked(top_p=5e-324, temperature=1).top_p == 1e-6


def test_whole_numbers_are_temperatures_too() -> None:
    assert asked(temperature=1).temperature == 1.0


def test_the_readme_lists_the_harmless_parameters() -> None:
    page = (Path(parameters.__file__).parent / "README.md").read_text()
    listed = page.partition("accepted without effect: ")[2].partition(". Temperatures")[0]
    assert re.findall(r"`(\w+)`", listed) == sorted(HARMLESS)


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_a_harmless_parameter_is_accepted_whatever_it_says(name: str) -> None:
    asked(**{name: {"any": ["thing", None]}})


@pytest.mark.parametrize("name", ["top_k", "structured_outputs", "temprature", "max_token", "__"])
def test_a_parameter_that_is_not_there_is_refused_by_name(name: str) -> None:
    message = f"{name}: this server has no such parameter; leave it out"
    assert refused(question(**{name: 5})) == (message, name)
    chat = {"method": "POST", "url": "/chat", "json": {"prompt": "x", name: 5}}
    assert refused(chat) == (message, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "0.5"),
        ("temperature", True),
        ("top_p", "1"),
        ("seed", 1.0),
        ("seed", True),
        ("seed", 2**64),
        ("max_tokens", 3.0),
        ("max_tokens", "3"),
        ("max_tokens", True),
        ("stream", "true"),
        ("stream", 1),
        ("messages", {}),
        ("messages", "hi"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name: str, value: object) -> None:
    message, param = refused(question(**{name: value}))
    assert param == name
    assert message.startswith(f"{name}: Input should be ")


@pytest.mark.parametrize(
    ("content", "place", "problem"),
    [
        (5, "", "Input should be a valid string"),
        (None, "", "Input should be a valid string"),
        ([], "", "List should have at least 1 item after validation, not 0"),
        (
            [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}],
            ".0",
            "a part of type 'image_url'; the model reads text alone",
        ),
        ([{"type": "text"}], ".0.text", "Field required"),
        (["x"], ".0", "Input should be an object"),
    ],
)
def test_a_content_is_refused_by_its_place_in_the_body(
    content: object, place: str, problem: str
) -> None:
    found = refused(question(messages=[{"role": "user", "content": content}]))
    assert found == (f"messages.0.content{place}: {problem}", f"messages.0.content{place}")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"messages": [{"role": "tool", "content": "", "tool_call_id": "x"}]},
         "messages.0.tool_call_id"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_by_a_parameter(
    body: dict[str, Any], param: str
) -> None:
    message, found = refused(question(**body))
    assert found == param
    assert message.startswith(param)


def test_an_empty_body_is_said_to_be_empty() -> None:
    headers = {"Content-Type": "application/json"}
    request = {"method": "POST", "url": "/chat", "content": "", "headers": headers}
    assert refused(request) == ("the body is empty; send a JSON object", None)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused_by_name(value: str) -> None:
    body = f'{{"prompt": "x", "temperature": {value}}}'
    headers = {"Content-Type": "application/json"}
    chat = {"method": "POST", "url": "/chat", "content": body, "headers": headers}
    assert refused(chat) == ("temperature: Input should be a finite number", "temperature")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('"messages": [{"content": "a\\ud800b"}]', f"messages.0.content: {NO_CHARACTER}"),
        ('"messages": [{"role": "\\udc00"}]', f"messages.0.role: {NO_CHARACTER}"),
        ('"stop": ["a", "\\ud800"]', f"stop.1: {NO_CHARACTER}"),
        ('"model": "\\ud800"', f"model: {NO_CHARACTER}"),
        ('"\\ud800": 1', "the body: a name has half of a surrogate pair"),
        ('"metadata": {"\\ud800": 1}', "metadata: a name has half of a surrogate pair"),
    ],
)  # fmt: skip
def test_half_a_character_is_refused_by_its_place(body: str, message: str) -> None:
    headers = {"Content-Type": "application/json"}
    url = "/v1/chat/completions"
    request = {"method": "POST", "url": url, "content": f"{{{body}}}", "headers": headers}
    assert refused(request)[0] == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": [USER] * 2049}, "messages: 2049 items; at most 2048 are accepted"),
        (
            {"messages": [{}] * 2000},
            "; and 1992 more problems",
        ),
        ({"x" * 100_000: 1}, f"{'x' * 57}...: this server has no such parameter; leave it out"),
        ({f"{'x' * 300}{number}": 1 for number in range(2000)}, "and 1992 more problems"),
        ({"model": "\U0001f600\x01" * 10_000}, "model '\U0001f600"),
        ({"messages": [USER] * MOST_VALUES}, f"the body has over {MOST_VALUES} values"),
    ],
)
def test_a_refusal_is_short_however_much_is_wrong(body: dict[str, Any], message: str) -> None:
    (response,) = ask(APP, question(**body))
    assert response.status_code in (400, 404)
    assert len(response.content) <= 8192
    assert message in response.json()["error"]["message"]


def test_a_compressed_body_is_refused_in_words() -> None:
    (response,) = ask(APP, {**question(), "headers": {"Content-Encoding": "gzip"}})
    assert response.status_code == 415
    message = "the body's Content-Encoding is gzip; send it as it is"
    assert response.json()["error"]["message"] == message


def test_a_body_that_is_not_compressed_may_say_so() -> None:
    (response,) = ask(APP, {**question(), "headers": {"Content-Encoding": "Identity"}})
    assert response.status_code == 200
