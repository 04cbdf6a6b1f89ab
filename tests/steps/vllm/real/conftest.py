"""One server on a real vLLM for the tests of HTTP, which serve's suite has for its own fakes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.steps.serve.conftest import DIGEST, Server, Tuned, loaded, tune
from tests.steps.vllm.real.process import Process, serving

__all__ = ["loaded"]

HEAD_SIZE = {"hidden_size": 128}
"""vLLM's attention has heads of 32 and more; there are four."""


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return tune(tmp_path_factory.mktemp("tuned"), **HEAD_SIZE)


@pytest.fixture(scope="session")
def shared(tuned: Tuned, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    flags = (
        f"--adapter-digest={DIGEST}",
        '--cors-origins=["https://app.example.com"]',
        "--max-body-bytes=4096",
    )
    with serving(tuned, tmp_path_factory.mktemp("server"), *flags) as process:
        yield process


@pytest.fixture
def http(shared: Process) -> httpx.Client:
    return shared.client


@pytest.fixture
def server(http: httpx.Client) -> Server:
    nothing: Any = None  # of a fake
    return Server(service=nothing, engine=nothing, client=http)


@pytest.fixture
def client(http: httpx.Client) -> OpenAI:
    return OpenAI(base_url=f"{http.base_url}/v1", api_key="none", max_retries=0, http_client=http)
