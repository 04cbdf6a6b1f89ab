"""What a real vLLM does with an adapter that tune wrote."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from argotune.steps.contracts.serving import read_contract, write_contract
from argotune.steps.serve.app import make_app
from argotune.steps.serve.metrics import Metrics
from argotune.steps.serve.page.routes import add_page_routes
from argotune.steps.serve.service import Service
from tests.fakes.engine import ANSWER
from tests.steps.serve.conftest import QUESTION, TINY_TEMPLATE, Tuned, tune
from tests.steps.serve.test_openai import WEATHER
from tests.steps.vllm.real.conftest import HEAD_SIZE
from tests.steps.vllm.real.process import serving

# A server starts in one to four minutes.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]

QUESTIONS = (QUESTION, "Who?", "What does the number stand for?", "It stands", "a b c", "9" * 30)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("model", ["demo", "acme/random"])
def test_its_answers_at_temperature_0_are_those_of_plain_peft(
    http: httpx.Client, tuned: Tuned, loaded: tuple[Any, Any], model: str
) -> None:
    import contextlib

    import torch

    peft, tokenizer = loaded
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        asked = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt"
        )["input_ids"]
        without = contextlib.nullcontext() if model == "demo" else peft.disable_adapter()
        with without, torch.no_grad():
            ids = peft.generate(
                input_ids=asked,
                attention_mask=torch.ones_like(asked),
                max_new_tokens=32,
                do_sample=False,
                eos_token_id=tuned.contract.stop_token_ids,
            )
        expected = tokenizer.decode(ids[0, asked.shape[1] :], skip_special_tokens=True)
        body = {"model": model, "messages": messages, "max_tokens": 32}
        found = http.post("/v1/chat/completions", json=body).raise_for_status().json()
        assert found["choices"][0]["message"]["content"] == expected


def test_a_seed_repeats_an_answer_of_chance(http: httpx.Client) -> None:
    def answer(seed: int) -> str:
        body = {"model": "acme/random", "prompt": "x", "seed": seed, "max_tokens": 20}
        answered = http.post("/v1/completions", json={**body, "temperature": 2.0}).json()
        return str(answered["choices"][0]["text"])

    answers = [answer(seed) for seed in (1, 2, 3)]
    assert len(set(answers)) == 3
    assert answers == [answer(seed) for seed in (1, 2, 3)]


def test_its_routes_and_metrics_are_those_of_the_other_engine(
    http: httpx.Client, tuned: Tuned
) -> None:
    def names(text: str) -> set[str]:
        lines = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        # Since when a counter counts is written from its first label on.
        return {name for name in lines if not name.endswith("_created")}

    assert names(http.get("/metrics").text) == names(Metrics().text().decode())
    app = make_app(Service(timeout_seconds=1.0), max_body_bytes=4096)
    add_page_routes(app, tuned.adapter_dir, digest=None)
    assert http.get("/openapi.json").json()["paths"] == app.openapi()["paths"]
    assert http.head("/v1/models").content == b""
    allowed = "access-control-allow-origin"
    for origin, is_allowed in (("https://app.example.com", True), ("https://evil.example", False)):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert (allowed in http.options("/chat", headers=asked).headers) == is_allowed


def test_adapters_come_and_go_tools_are_called_and_a_signal_lets_it_finish(tmp_path: Path) -> None:
    length = 512
    tuned = tune(
        tmp_path / "tuned",
        template=TINY_TEMPLATE,
        **HEAD_SIZE,
        max_position_embeddings=length,
    )
    # Tools are longer than what it was trained on.
    longer = msgspec.structs.replace(tuned.contract, max_length=length)
    write_contract(tuned.adapter_dir, longer)
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    with serving(tuned, tmp_path, f"--adapters-dir={adapters}") as server:
        http = server.client

        def models() -> list[str]:
            return [model["id"] for model in http.get("/v1/models").json()["data"]]

        large = shutil.copytree(tuned.adapter_dir, tmp_path / "large")
        contract = read_contract(large)
        shape = msgspec.structs.replace(contract.adapter, r=600)
        write_contract(large, msgspec.structs.replace(contract, adapter=shape))
        large.rename(adapters / "large")
        shutil.copytree(tuned.adapter_dir, tmp_path / "new").rename(adapters / "another")
        until(lambda: "another" in models())
        answer = {"response": ANSWER, "finish_reason": "stop"}
        assert http.post("/chat", json={"prompt": QUESTION, "model": "another"}).json() == answer
        assert "adapter large is refused: the adapter's rank is 600" in server.log.read_text()
        shutil.rmtree(adapters / "another")
        until(lambda: "another" not in models())
        assert http.post("/chat", json={"prompt": QUESTION}).json() == answer

        messages = [{"role": "user", "content": QUESTION}]
        called = http.post(
            "/v1/chat/completions",
            json={
                "model": "demo",
                "messages": messages,
                "tools": [WEATHER],
                "tool_choice": "required",
                "parallel_tool_calls": False,
                "temperature": 0,
            },
        )
        assert called.status_code == httpx.codes.OK, called.text
        (choice,) = called.json()["choices"]
        assert choice["finish_reason"] == "tool_calls", choice
        (call,) = choice["message"]["tool_calls"]
        assert call["function"]["name"] == "weather"
        assert json.loads(call["function"]["arguments"]) == {"town": "Bern"}

        body = {"model": "acme/random", "messages": messages, "max_tokens": 60, "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            assert "assistant" in next(lines)
            server.process.send_signal(signal.SIGTERM)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert server.process.wait(timeout=120) == 0


def test_the_end_of_its_process_ends_the_server_with_the_reason(
    tuned: Tuned, tmp_path: Path
) -> None:
    with serving(tuned, tmp_path) as server:
        children = psutil.Process(server.process.pid).children(recursive=True)
        engines = [child for child in children if "EngineCore" in child.name()]
        assert engines
        for engine in engines:
            engine.kill()

        def is_over() -> bool:
            try:
                return server.client.get("/health").status_code != httpx.codes.OK
            except httpx.TransportError:
                return True

        until(is_over)
        assert server.process.wait(timeout=120) == 3
        assert "the engine can answer no more: vLLM's engine has ended" in server.log.read_text()
