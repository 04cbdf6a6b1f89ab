"""Clients with keys, tools, and adapters that come and go meanwhile, before a real vLLM."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from openai import OpenAI

from argotune.steps.contracts.serving import read_contract, write_contract
from tests.fakes.engine import ANSWER
from tests.steps.serve.conftest import QUESTION, TINY_TEMPLATE, tune
from tests.steps.serve.test_openai import test_an_answer_that_has_to_be_a_call_is_one
from tests.steps.serve.test_responses import (
    test_an_answer_that_has_to_be_a_call_is_one as test_a_response_that_has_to_be_a_call_is_one,
)
from tests.steps.vllm.real.conftest import HEAD_SIZE
from tests.steps.vllm.real.process import Process, serving, until

__all__ = [
    "test_a_response_that_has_to_be_a_call_is_one",
    "test_an_answer_that_has_to_be_a_call_is_one",
]

# A server starts in one to four minutes.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]

LENGTH = 2048
"""Tools are longer than what it was trained on."""
BASE = "acme/random"
KEYS = {"anna": "sk-anna-0123456789", "bert": "sk-bert-0123456789"}
# Its text has so many characters before it may end.
LONG_TEXT = {"name": "text", "schema": {"type": "string", "minLength": 600}}
LONG = {"max_tokens": 1200, "response_format": {"type": "json_schema", "json_schema": LONG_TEXT}}


@dataclass(frozen=True)
class Shared:
    """A server that answers two questions at once and lets two wait."""

    process: Process
    adapters: Path
    """What is renamed into it or out of it joins or leaves."""
    adapter: Path
    """A directory to copy."""

    def ask(self, client: str, **body: Any) -> httpx.Response:
        return self.process.client.post("/v1/chat/completions", **_request(client, body))

    @contextlib.contextmanager
    def stream(self, client: str, **body: Any) -> Iterator[Iterator[Any]]:
        """The pieces of a long answer, of which the first has come."""
        request = _request(client, {**LONG, **body, "stream": True})
        with self.process.client.stream("POST", "/v1/chat/completions", **request) as response:
            pieces = _pieces(response)
            # The role alone comes before the answer has its turn.
            next(piece for piece in pieces if piece["choices"][0]["delta"].get("content"))
            yield pieces

    def models(self) -> list[str]:
        found = self.process.client.get("/v1/models", headers=_key("anna")).json()["data"]
        return [model["id"] for model in found]

    def metrics(self) -> list[str]:
        return self.process.client.get("/metrics").text.splitlines()

    def wait_for(self, waiting: int) -> None:
        until(lambda: f"argotune_requests_waiting {waiting}.0" in self.metrics())


def _key(client: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[client]}"}


def _request(client: str, body: dict[str, Any]) -> dict[str, Any]:
    default = {"model": BASE, "messages": [{"role": "user", "content": QUESTION}]}
    return {"headers": _key(client), "json": {**default, **body}}


def _pieces(response: httpx.Response) -> Iterator[Any]:
    assert response.status_code == httpx.codes.OK, response.read()
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    work_dir = tmp_path_factory.mktemp("clients")
    shape = {**HEAD_SIZE, "max_position_embeddings": LENGTH}
    tuned = tune(work_dir / "tuned", template=TINY_TEMPLATE, **shape)
    longer = msgspec.structs.replace(tuned.contract, max_length=LENGTH)
    write_contract(tuned.adapter_dir, longer)
    keys, adapters = work_dir / "keys", work_dir / "adapters"
    keys.write_text("".join(f"{name}: {key}\n" for name, key in KEYS.items()))
    adapters.mkdir()
    flags = (f"--keys-file={keys}", f"--adapters-dir={adapters}", "--slots=2", "--queue-size=2")
    with serving(tuned, work_dir, *flags) as process:
        yield Shared(process, adapters, tuned.adapter_dir)


@pytest.fixture
def client(shared: Shared) -> OpenAI:
    http = shared.process.client
    url = f"{http.base_url}/v1"
    return OpenAI(base_url=url, api_key=KEYS["anna"], max_retries=0, http_client=http)


def test_nobody_is_answered_before_the_model_is_loaded(shared: Shared) -> None:
    refused = shared.process.loading
    assert refused is not None
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert refused.json()["error"]["message"] == "the model is being loaded"


def test_keys_tell_clients_apart_and_requests_have_ids(shared: Shared) -> None:
    http = shared.process.client
    for headers, message in (
        ({}, "You didn't provide an API key. "),
        ({"Authorization": "Bearer sk-carl"}, "Incorrect API key provided."),
    ):
        refused = http.get("/v1/models", headers=headers)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert refused.json()["error"]["message"].startswith(message)
        assert refused.json()["request_id"] == refused.headers["x-request-id"]
    request = _request("bert", {"model": "demo"})
    request["headers"]["X-Request-Id"] = "my-id"
    answer = http.post("/v1/chat/completions", **request)
    assert (answer.status_code, answer.headers["x-request-id"]) == (200, "my-id")
    counted = 'argotune_requests_total{client="bert",path="/v1/chat/completions",status="200"} 1.0'
    assert counted in shared.metrics()
    log = shared.process.log.read_text()
    assert "request=my-id" in log
    assert QUESTION not in log
    assert not any(key in log for key in KEYS.values())


def test_a_client_that_asks_much_is_refused_and_another_comes_before_it(shared: Shared) -> None:
    ended = []

    def ask(client: str, most: int) -> None:
        assert shared.ask(client, **{**LONG, "max_tokens": most}).status_code == httpx.codes.OK
        ended.append(client)

    with ThreadPoolExecutor() as pool, shared.stream("anna"):
        with shared.stream("anna"):
            begun = [pool.submit(ask, "anna", 60)]
            shared.wait_for(waiting=1)
            refused = shared.ask("anna")
            begun.append(pool.submit(ask, "bert", 2))
            shared.wait_for(waiting=2)
            full = shared.ask("bert")
        # Who hangs up leaves its turn.
        for each in begun:
            each.result()
    assert ended == ["bert", "anna"]
    for response, message in (
        (refused, "1 requests of this client are already waiting; try again later"),
        (full, "2 requests are already waiting; try again later"),
    ):
        assert response.status_code == httpx.codes.TOO_MANY_REQUESTS
        assert response.json()["error"]["message"] == message
        assert int(response.headers["Retry-After"]) >= 1
    shared.wait_for(waiting=0)


def test_adapters_come_and_go_while_questions_are_answered(shared: Shared, tmp_path: Path) -> None:
    large = shutil.copytree(shared.adapter, tmp_path / "large")
    contract = read_contract(large)
    shape = msgspec.structs.replace(contract.adapter, r=600)
    write_contract(large, msgspec.structs.replace(contract, adapter=shape))
    with shared.stream("anna") as of_base:
        large.rename(shared.adapters / "large")
        shutil.copytree(shared.adapter, tmp_path / "new").rename(shared.adapters / "another")
        until(lambda: "another" in shared.models())
        answer = shared.ask("anna", model="another").json()["choices"][0]["message"]
        assert answer["content"] == ANSWER
        with shared.stream("anna", model="another") as of_adapter:
            shutil.rmtree(shared.adapters / "another")
            until(lambda: "another" not in shared.models())
            gone = shared.ask("bert", model="another")
            assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_found")
            ends = [list(pieces)[-1]["choices"][0] for pieces in (of_base, of_adapter)]
    assert {end["finish_reason"] for end in ends} <= {"stop", "length"}
    assert shared.ask("anna", model="demo").json()["choices"][0]["message"]["content"] == ANSWER
    log = shared.process.log.read_text()
    assert "adapter large is refused: the adapter's rank is 600" in log
