"""A service without training on a real vLLM: its base, and adapters of anybody."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from argotune.steps.contracts.served import ADAPTER_HEADER
from argotune.steps.contracts.serving import FILE_NAME
from argotune.steps.deploy.service_files import write_service_files
from tests.fakes.engine import ANSWER
from tests.fakes.services import DIGEST, write_service
from tests.steps.serve.conftest import QUESTION, Tuned
from tests.steps.tune.models import tiny_plan
from tests.steps.vllm.real.process import Process, serving

# A server starts in one to four minutes.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]


def test_the_base_answers_adapters_by_their_strength_and_a_signal_lets_it_finish(
    tuned: Tuned, tmp_path: Path
) -> None:
    foreign = shutil.copytree(tuned.adapter_dir, tmp_path / "foreign")
    (foreign / FILE_NAME).unlink()
    adapters = {"whole": tuned.adapter_dir, "none": tuned.adapter_dir, "foreign": foreign}
    plan_file = write_service(
        tmp_path / "work",
        adapters,
        strengths={"none": 0.0},
        model=tiny_plan().model,
        max_length=64,
        engine="vllm",
    )
    files = write_service_files(plan_file, tmp_path / "files")
    messages = [{"role": "user", "content": QUESTION}]
    answers, digests = {}, {}
    with serving(tuned, tmp_path, service_dir=files) as server:
        models = server.client.get("/v1/models").json()["data"]
        for model in (each["id"] for each in models):
            body = {"model": model, "messages": messages, "max_tokens": 20}
            reply = server.client.post("/v1/chat/completions", json=body).raise_for_status()
            answers[model] = reply.json()["choices"][0]["message"]["content"]
            digests[model] = reply.headers.get(ADAPTER_HEADER)
        assert {each["max_model_len"] for each in models} == {64}
        _end_during_an_answer(server)
    assert digests == dict.fromkeys(adapters, DIGEST) | {"demo": None, "acme/random": None}
    assert answers["whole"] == answers["foreign"] == ANSWER
    # At strength 0 an adapter adds nothing.
    assert answers["none"] == answers["demo"] == answers["acme/random"] != ANSWER


def _end_during_an_answer(server: Process) -> None:
    """A stream that was begun comes to its end, and then the process."""
    body = {"model": "acme/random", "prompt": "x", "max_tokens": 60, "stream": True}
    with server.client.stream("POST", "/v1/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert server.process.wait(timeout=120) == 0
