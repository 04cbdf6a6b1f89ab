"""What a real vLLM does with an adapter that tune wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from argotune.steps.serve.app import make_app
from argotune.steps.serve.metrics import Metrics
from argotune.steps.serve.page.routes import add_page_routes
from argotune.steps.serve.service import Service
from tests.steps.serve.conftest import QUESTION, Tuned
from tests.steps.vllm.real.process import serving, until

# A server starts in one to four minutes.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]

QUESTIONS = (QUESTION, "Who?", "What does the number stand for?", "It stands", "a b c", "9" * 30)


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
