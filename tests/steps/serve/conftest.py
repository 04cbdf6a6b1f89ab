"""Servers on loopback before a fake engine, and an adapter that was really tuned.

What needs torch is imported by the fixtures that need it: a test of the HTTP part takes
milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import uvicorn
from fastapi import FastAPI

from argotune.steps import tiny
from argotune.steps.contracts.serving import ServingContract, read_contract
from argotune.steps.serve.admission import Admission
from argotune.steps.serve.app import make_app
from argotune.steps.serve.connection import ConnectionLimits, limited
from argotune.steps.serve.constraint import Check, problem_of_grammar
from argotune.steps.serve.conversation import Conversations
from argotune.steps.serve.engine.interface import Question
from argotune.steps.serve.service import Ready, Service
from tests.fakes.engine import ANSWER as ANSWER
from tests.fakes.engine import CONTRACT, FakeEngine
from tests.fakes.tokenizer import MARKED_TEMPLATE

if TYPE_CHECKING:
    from openai import OpenAI

QUESTION = "Who are you?"
TINY_TEMPLATE = Path(tiny.__file__).with_name("chat_template.jinja").read_text()
DIGEST = f"sha256:{'5' * 64}"


@dataclass(frozen=True)
class Tuned:
    """What the steps before the server left; at temperature 0 its adapter says ANSWER."""

    model_dir: Path
    adapter_dir: Path
    contract: ServingContract


@dataclass(frozen=True)
class Server:
    """A server that runs in a thread of the test."""

    service: Service
    engine: FakeEngine
    client: httpx.Client

    def chat(self, **body: Any) -> httpx.Response:
        return self.client.post("/chat", json={"prompt": QUESTION, **body})

    def complete(self, **body: Any) -> httpx.Response:
        default = {"model": "demo", "messages": [{"role": "user", "content": QUESTION}]}
        return self.client.post("/v1/chat/completions", json={**default, **body})


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return tune(tmp_path_factory.mktemp("tuned"))


def tune(work_dir: Path, *, template: str = MARKED_TEMPLATE, **shape: int) -> Tuned:
    """Tune a random model; `shape` is what its config has else than the smallest."""
    import torch

    from argotune.steps.common.progress import Progress
    from argotune.steps.contracts.training_plan import write_plan
    from argotune.steps.tune.params import Params
    from argotune.steps.tune.run import run
    from tests.steps.tune.models import conversation, save_model, tiny_plan, write_rows

    torch.set_num_threads(1)
    model_dir = save_model(work_dir / "model", template=template, **shape)
    rows = [conversation(QUESTION, ANSWER)] * 16
    write_rows(work_dir / "dataset" / "train.parquet", rows)
    write_rows(work_dir / "dataset" / "validation.parquet", rows[:1])
    write_plan(work_dir / "plan.yaml", tiny_plan(epochs=30.0))
    params = Params(
        plan_file=work_dir / "plan.yaml",
        model_dir=model_dir,
        work_dir=work_dir,
        dataset_digest="sha256:d",
    )
    run(params, progress=Progress())
    adapter_dir = work_dir / "adapter"
    return Tuned(model_dir, adapter_dir, read_contract(adapter_dir))


@pytest.fixture(scope="session")
def loaded(tuned: Tuned) -> tuple[Any, Any]:
    """The model and the tokenizer as the server loads them."""
    from argotune.steps.serve.load import load_model
    from argotune.steps.serve.served_files import load_tokenizer

    model = load_model(tuned.model_dir, tuned.adapter_dir, tuned.contract, load_in_4bit=False)
    return model, load_tokenizer(tuned.model_dir, tuned.contract)


def make_service(
    engine: FakeEngine,
    *,
    name: str = "demo",
    queue_size: int = 8,
    timeout_seconds: float = 30.0,
    requests_per_minute: int = 0,
    check_grammar: Check = problem_of_grammar,
) -> Service:
    """A service that is ready."""
    service = Service(timeout_seconds=timeout_seconds, requests_per_minute=requests_per_minute)
    service.set_ready(
        Ready(
            engine,
            Conversations(engine, engine.tokenizer, name=name, check_grammar=check_grammar),
            Admission(engine.slots, queue_size),
        )
    )
    return service


def ask(app: FastAPI, *requests: Mapping[str, Any]) -> list[httpx.Response]:
    """Send requests one after the other to an application, without a server."""

    async def _ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [await client.request(**request) for request in requests]

    return asyncio.run(_ask())


def question(**body: Any) -> dict[str, Any]:
    """A request that asks, for `ask`."""
    default = {"model": "demo", "messages": [{"role": "user", "content": QUESTION}]}
    return {"method": "POST", "url": "/v1/chat/completions", "json": {**default, **body}}


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starts servers; all of them end with the test."""
    with contextlib.ExitStack() as stack:

        def _start(
            *, queue_size: int = 8, timeout_seconds: float = 30.0, ready: bool = True
        ) -> Server:
            engine = FakeEngine("demo")
            if ready:
                service = make_service(
                    engine, queue_size=queue_size, timeout_seconds=timeout_seconds
                )
            else:
                service = Service(timeout_seconds=timeout_seconds)
            client = stack.enter_context(listening(make_app(service, max_body_bytes=4096)))
            stack.callback(engine.release)
            return Server(service, engine, client)

        yield _start


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


@contextlib.contextmanager
def listening(
    app: FastAPI, limits: ConnectionLimits | None = None, **settings: Any
) -> Iterator[httpx.Client]:
    """A client of a server that runs in a thread; `settings` are uvicorn's."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            http=limited(limits or ConnectionLimits()),
            log_config=None,
            timeout_graceful_shutdown=1,
            **settings,
        )
    )
    listener = server.config.bind_socket()
    # Now, and not when the thread comes to it: who connects before that is refused.
    listener.listen()
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()


class ToldEngine(FakeEngine):
    """Says what the test wants; a template with tools."""

    def __init__(self) -> None:
        contract = msgspec.structs.replace(CONTRACT, chat_template=TINY_TEMPLATE, max_length=4096)
        super().__init__("demo", contract=contract)
        self.said = ANSWER

    def _rule(self, question: Question) -> Iterator[int]:
        chance = question.sampling.temperature > 0
        return super()._rule(question) if chance else iter(self._ids(self.said))


@pytest.fixture(scope="session")
def shared() -> Iterator[tuple[ToldEngine, httpx.Client]]:
    engine = ToldEngine()
    service = Service(timeout_seconds=30.0)
    service.note_digest("demo", DIGEST)
    conversations = Conversations(engine, engine.tokenizer, name="demo")
    service.set_ready(Ready(engine, conversations, Admission(engine.slots, 16)))
    app = make_app(service, max_body_bytes=1 << 20, cors_origins=("https://app.example.com",))
    with listening(app) as client:
        yield engine, client


@pytest.fixture
def engine(shared: tuple[ToldEngine, httpx.Client]) -> ToldEngine:
    shared[0].said = ANSWER
    shared[0].questions.clear()
    return shared[0]


@pytest.fixture
def http(shared: tuple[ToldEngine, httpx.Client], engine: ToldEngine) -> httpx.Client:
    return shared[1]


@pytest.fixture
def client(http: httpx.Client) -> OpenAI:
    from openai import OpenAI

    return OpenAI(base_url=f"{http.base_url}/v1", api_key="none", max_retries=0, http_client=http)
