"""The server over real HTTP, with a fake engine behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest
from openai import InternalServerError, OpenAI

from argotune.steps.serve.app import make_app
from tests.fakes.engine import CONTRACT, FakeEngine
from tests.steps.serve.conftest import (
    ANSWER,
    QUESTION,
    Server,
    listening,
    make_service,
    question,
)

Start = Callable[..., Server]


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Status and message of a refusal, which has OpenAI's form."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in response.text
    return response.status_code, error["message"]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def chunks(response: httpx.Response) -> Iterator[Any]:
    for line in response.iter_lines():
        if line and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def test_chat_answers_what_was_trained(server: Server) -> None:
    response = server.chat()
    assert (response.status_code, response.json()) == (
        200,
        {"response": ANSWER, "finish_reason": "stop"},
    )


def test_the_base_model_answers_by_its_own_name(server: Server) -> None:
    assert server.chat(model="acme/random").json()["response"] != ANSWER
    assert server.chat(model="demo").json()["response"] == ANSWER


def test_only_json_is_read(server: Server) -> None:
    """A page in a browser on this machine can post forms to any port; JSON it cannot."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = json.dumps({"prompt": QUESTION})
    response = server.client.post("/chat", content=body, headers=form)
    assert error_of(response) == (
        415,
        "the body's Content-Type is application/x-www-form-urlencoded; send application/json",
    )
    utf8 = {"Content-Type": "application/json; charset=utf-8"}
    assert server.client.post("/chat", content=body, headers=utf8).status_code == 200


def test_completions_have_openais_form(server: Server) -> None:
    body = server.complete().json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "demo"
    assert body["id"].startswith("chatcmpl-")
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": ANSWER, "refusal": None}
    assert choice["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] > 3


def test_content_may_come_in_parts(server: Server) -> None:
    parts = [{"type": "text", "text": QUESTION[:4]}, {"type": "text", "text": QUESTION[4:]}]
    body = server.complete(messages=[{"role": "user", "content": parts}]).json()
    assert body["choices"][0]["message"]["content"] == ANSWER


def test_the_answer_ends_at_max_tokens(server: Server) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        body = server.complete(**{name: 2}).json()
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 2
        assert ANSWER.startswith(body["choices"][0]["message"]["content"])


def test_the_answer_ends_before_a_stop_text(server: Server) -> None:
    for stop in ("stands", ["never", "stands for"]):
        choice = server.complete(stop=stop).json()["choices"][0]
        assert choice["message"]["content"] == "It "
        assert choice["finish_reason"] == "stop"


def test_a_stream_says_the_same_piece_by_piece(server: Server) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    response = server.complete(**options)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")
    parts = list(chunks(response))
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}
    assert len({part["id"] for part in parts}) == 1
    texts = [part["choices"][0]["delta"].get("content", "") for part in parts[:-1]]
    assert len([text for text in texts if text]) > 3
    assert "".join(texts) == ANSWER
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert parts[-2]["choices"][0]["finish_reason"] == "stop"
    assert parts[-1]["usage"] == server.complete().json()["usage"]


def test_a_seed_repeats_an_answer_of_chance(server: Server) -> None:
    def answer(seed: int) -> str:
        body = server.complete(seed=seed, temperature=2.0, max_tokens=20)
        return str(body.json()["choices"][0]["message"]["content"])

    answers = [answer(seed) for seed in (1, 2, 3)]
    assert len(set(answers)) == 3
    assert answers == [answer(seed) for seed in (1, 2, 3)]


def test_models_are_the_adapter_and_its_base(server: Server) -> None:
    body = server.client.get("/v1/models").json()
    assert [model["id"] for model in body["data"]] == ["demo", "acme/random"]
    assert body["data"][0]["parent"] == "acme/random"


def test_nothing_is_answered_before_the_model_is_loaded(start: Start) -> None:
    server = start(ready=False)
    for response in (
        server.client.get("/health"),
        server.client.get("/v1/models"),
        server.chat(),
        server.complete(),
    ):
        assert error_of(response) == (503, "the model is being loaded")
        assert response.headers["Retry-After"] == "2"
    assert "argotune_ready 0.0" in server.client.get("/metrics").text


def test_health_is_good_once_it_is_loaded(server: Server) -> None:
    response = server.client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"model": "gpt-4"}, 404, (
            "model 'gpt-4' is not served here; available are 'demo' and 'acme/random'"
        )),
        ({"messages": []}, 400, "messages: List should have at least 1 item after validation, "
         "not 0"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages.0.role: 'robot' is none "
         "of 'system', 'developer', 'user', 'assistant', 'tool'"),
        ({"messages": [{"content": "x"}]}, 400, "messages.0.role: Field required"),
        ({"n": 9}, 400, "n: Input should be less than or equal to 8"),
        ({"top_k": 5}, 400, "top_k: this server has no such parameter; leave it out"),
        ({"temperature": -1}, 400, "temperature: Input should be greater than or equal to 0"),
        ({"max_tokens": 0}, 400, "max_tokens: Input should be greater than or equal to 1"),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop: 5 texts; at most 4 are accepted"),
        ({"max_tokens": 120}, 400, (
            "the conversation has 14 tokens and the answer up to 120; the limit for "
            "conversation and answer is 128"
        )),
        ({"messages": [{"role": "user", "content": "9" * 200}]}, 400,
         "the conversation has 203 tokens; the limit for conversation and answer is 128"),
    ],
)  # fmt: skip
def test_bad_completions_are_refused_in_words(
    server: Server, body: dict[str, Any], status: int, message: str
) -> None:
    assert error_of(server.complete(**body)) == (status, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"prompt":', "the body is not JSON: Expecting value"),
        (b"[" * 4000, "the body is nested deeper than 64 levels"),
        (b"[]", "Input should be an object"),
        (b"{}", "give either prompt or messages"),
        (b'{"prompt": ""}', "prompt: String should have at least 1 character"),
        (
            b'{"prompt": "x", "prompt": "y"}',
            "the body has 'prompt' twice in one object; give it once",
        ),
        (b'{"prompt": "x", "promt": 1}', "promt: this server has no such parameter; leave it out"),
    ],
)
def test_bad_chats_are_refused_in_words(server: Server, content: bytes, message: str) -> None:
    response = server.client.post(
        "/chat", content=content, headers={"Content-Type": "application/json"}
    )
    assert error_of(response) == (400, message)


ROUTES = (
    "this server has GET /health, GET /metrics, GET /v1/models, GET /v1/models/{model}, "
    "POST /chat, POST /v1/chat/completions, POST /v1/completions, POST /v1/responses"
)


def test_unknown_paths_and_methods_are_refused_in_words(server: Server) -> None:
    assert error_of(server.client.get("/nix")) == (404, f"GET /nix: Not Found; {ROUTES}")
    message = "GET /chat: Method Not Allowed; it takes POST"
    assert error_of(server.client.get("/chat")) == (405, message)
    slash = server.client.post("/v1/chat/completions/", json={})
    assert error_of(slash) == (404, f"POST /v1/chat/completions/: Not Found; {ROUTES}")
    assert slash.json()["error"]["code"] == "unknown_url"


def test_a_large_body_is_refused_whether_or_not_it_says_its_size(server: Server) -> None:
    large = b'{"prompt": "' + b"x" * 5000 + b'"}'
    refusal = (413, "the body is larger than 4096 bytes")
    assert error_of(server.client.post("/chat", content=large)) == refusal
    pieces = (large[start : start + 1000] for start in range(0, len(large), 1000))
    assert error_of(server.client.post("/chat", content=pieces)) == refusal


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_line_is_said_at_once_and_has_room_again_later(start: Start, stream: bool) -> None:
    server = start(queue_size=1)
    server.engine.hold()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(server.complete, stream=stream)
        # It is worked on: two that come at once are one too many while neither is.
        server.engine.wait_until_asked()
        second = threads.submit(server.complete, stream=stream)
        wait_until(lambda: server.service.ready.admission.waiting == 1)
        full = server.complete(stream=stream)
        assert error_of(full) == (429, "1 requests are already waiting; try again later")
        assert full.headers["Retry-After"] == "1"
        server.engine.release()
        assert [each.result().status_code for each in (first, second)] == [200, 200]
    wait_until(lambda: server.service.ready.admission.waiting == 0)
    assert server.complete(stream=stream).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_up_ends_the_work(start: Start, stream: bool) -> None:
    server = start(queue_size=0)
    server.engine.hold()
    body = json.dumps({
        "model": "acme/random",
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 100,
        "stream": stream,
    }).encode()  # fmt: skip
    with asking(server.client, body):
        server.engine.wait_until_asked()
    # The place in the line is free at once, though the model is still held in its first token.
    wait_until(lambda: server.engine.running == 0)
    server.engine.release()
    completion = server.complete().json()
    assert server.engine.tokens == completion["usage"]["completion_tokens"]


@contextlib.contextmanager
def asking(client: httpx.Client, body: bytes) -> Iterator[None]:
    """A question whose client hangs up at the end of the block, without the answer."""
    url = client.base_url
    with socket.create_connection((url.host, url.port or 0)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        yield


def test_hanging_up_ends_the_check_of_a_schema() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def check(grammar: str) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    service = make_service(FakeEngine(), check_grammar=check)
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    body = json.dumps(question(response_format=form)["json"]).encode()
    with listening(make_app(service, max_body_bytes=4096)) as client:
        with asking(client, body):
            assert begun.wait(timeout=60)
        assert ended.wait(timeout=60)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_is_ended(start: Start, stream: bool) -> None:
    server = start(timeout_seconds=0.2)
    server.engine.hold()
    response = server.complete(stream=stream)
    message = "no complete answer within 0.2 s"
    if stream:
        assert list(chunks(response))[-1]["error"]["message"] == message
    else:
        assert error_of(response) == (504, message)
        client = OpenAI(base_url=f"{server.client.base_url}/v1", api_key="none", max_retries=2)
        with pytest.raises(InternalServerError, match=message):
            client.completions.create(model="demo", prompt="x")
        assert len(server.engine.questions) == 2
    server.engine.release()
    wait_until(lambda: server.engine.running == 0)


def test_a_template_without_end_is_a_refusal_and_no_end_of_the_server(server: Server) -> None:
    hostile = (
        "{% if messages[0]['content'] == 'grow' %}{{ 'x' * 10 ** 9 }}{% endif %}"
        + CONTRACT.chat_template
    )
    server.engine.serve("demo", msgspec.structs.replace(CONTRACT, chat_template=hostile))
    assert error_of(server.client.post("/chat", json={"prompt": "grow"})) == (
        400,
        "messages: the chat template rejects it: it makes a value of over 67108864 characters",
    )
    assert server.chat().json() == {"response": ANSWER, "finish_reason": "stop"}


def test_a_failure_of_the_engine_is_no_end_of_the_server(
    server: Server,
) -> None:
    server.engine.error = "out of everything"
    message = "internal error; see the server's log"
    assert error_of(server.chat()) == (500, message)
    assert list(chunks(server.complete(stream=True)))[-1]["error"]["message"] == message
    server.engine.error = None
    assert server.chat().json() == {"response": ANSWER, "finish_reason": "stop"}


def test_requests_are_answered_in_the_order_they_came(start: Start) -> None:
    server = start()
    server.engine.hold()
    done: list[int] = []

    def ask(number: int) -> None:
        server.chat(max_new_tokens=1)
        done.append(number)

    threads = []
    for number in range(4):
        thread = threading.Thread(target=ask, args=(number,))
        thread.start()
        threads.append(thread)
        wait_until(lambda: server.service.ready.admission.waiting == number)  # noqa: B023
    server.engine.release()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(done) == [0, 1, 2, 3]


def test_metrics_count_requests_and_tokens(server: Server) -> None:
    server.chat()
    server.complete()
    server.complete(n=0)
    server.client.get("/wp-login.php")
    text = server.client.get("/metrics").text
    usage = server.complete().json()["usage"]
    of_model = '{client="",model="demo"}'
    for line in (
        'argotune_requests_total{client="",path="/chat",status="200"} 1.0',
        'argotune_requests_total{client="",path="/v1/chat/completions",status="200"} 1.0',
        'argotune_requests_total{client="",path="/v1/chat/completions",status="400"} 1.0',
        'argotune_requests_total{client="",path="other",status="404"} 1.0',
        f"argotune_answer_tokens_total{of_model} {2.0 * usage['completion_tokens']}",
        f"argotune_prompt_tokens_total{of_model} {2.0 * usage['prompt_tokens']}",
        "argotune_first_token_seconds_count 2.0",
        "argotune_requests_waiting 0.0",
        "argotune_ready 1.0",
    ):
        assert line in text.splitlines()


def test_a_question_is_told_that_its_adapter_went_while_it_waited(start: Start) -> None:
    server = start(queue_size=1)
    server.engine.hold()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(server.chat)
        server.engine.wait_until_asked()
        second = threads.submit(server.chat)
        wait_until(lambda: server.service.ready.admission.waiting == 1)
        asyncio.run(server.engine.remove_adapter("demo"))
        server.engine.release()
        assert first.result().status_code == 200
        assert error_of(second.result()) == (
            404,
            "model 'demo' was taken out of service while the question waited",
        )
