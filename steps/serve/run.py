"""The server process: listen, load, answer, drain."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.accelerator.gpus import Planned, check_gpus
from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.listener import offer_listener
from argotune.steps.contracts.service_plan import ADAPTERS, PLAN, read_service_plan
from argotune.steps.contracts.serving import ServingContract, read_contract
from argotune.steps.serve.adapters_dir import AdaptersDir, follow_in_thread
from argotune.steps.serve.admission import Admission
from argotune.steps.serve.app import make_app
from argotune.steps.serve.base_contract import contract_of_base
from argotune.steps.serve.connection import ConnectionLimits, limited
from argotune.steps.serve.conversation import Conversations
from argotune.steps.serve.ending import EndingServer
from argotune.steps.serve.engine.interface import Answer, Engine, EngineError, Question, Sampling
from argotune.steps.serve.keys import ClientKeys
from argotune.steps.serve.page.routes import add_page_routes
from argotune.steps.serve.params import Params
from argotune.steps.serve.request_ids import NameRequest
from argotune.steps.serve.served_files import load_tokenizer
from argotune.steps.serve.service import Ready, Service

_logger = logging.getLogger(__name__)

_IDLE_SECONDS = 75
"""How long a connection may wait for its next request. Longer than clients and most proxies keep
one, or else they send a request into a connection that is just being closed."""
_WARM_UP_SECONDS = 600.0


LoadEngine = Callable[[Params, ServingContract, Any], Engine]
"""Makes the engine, with the base model's tokenizer. Raises StepError."""


def serve(params: Params, load_engine: LoadEngine, *, cuda: Cuda = TORCH) -> None:
    """Serve until SIGTERM, then hand over and finish the running answers.

    Raises StepError if torch cannot use the GPUs that the server was given, or if loading fails.

    The port is open before the model is loaded, so that probes get status 503 and no timeout.
    """
    check_gpus(Planned(count=params.gpus), allow_cpu=params.allow_cpu, cuda=cuda)
    contract = _shortened(_contract_of(params), params.max_length)
    if params.adapters_dir is not None and not params.adapters_dir.is_dir():
        raise PermanentError(
            f"--adapters-dir: {params.adapters_dir} is no directory; make it first"
        )
    listener = _listen(params)
    later = None if params.listener_fd is None else socket.socket(fileno=params.listener_fd)
    if later is not None and params.port_file is not None:
        offer_listener(later, params.port_file.parent)
    service = Service(
        timeout_seconds=params.timeout_seconds,
        requests_per_minute=params.requests_per_minute,
    )
    service.note_digest(params.name, params.adapter_digest)
    keys = None if params.keys_file is None else ClientKeys(params.keys_file)
    app = make_app(
        service,
        max_body_bytes=params.max_body_bytes,
        keys=keys,
        cors_origins=params.cors_origins,
    )
    add_page_routes(app, params.adapter_dir, digest=params.adapter_digest)
    for handler in logging.getLogger().handlers:
        handler.addFilter(NameRequest())
    server = EndingServer(
        uvicorn.Config(
            app,
            http=limited(ConnectionLimits()),
            # Nothing here speaks it.
            ws="none",
            # A client could give itself any address by a header.
            proxy_headers=False,
            timeout_keep_alive=_IDLE_SECONDS,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=max(1, round(params.drain_seconds)),
        ),
        service.ending,
        hand_over_seconds=params.hand_over_seconds,
        later=later,
    )
    loading = _Loading(params, contract, load_engine, service, server)
    service.on_failure(loading.fail)
    loading.start()
    try:
        server.run(sockets=[listener])
    finally:
        # Also after a signal, which uvicorn raises again at its end.
        if loading.adapters is not None:
            loading.adapters.end()
        if loading.engine is not None:
            loading.engine.close()
    if loading.failure is not None:
        raise loading.failure
    log.event(_logger, "drained")


def _contract_of(params: Params) -> ServingContract:
    """How the first adapter is served, or the base of a service without one."""
    if params.adapter_dir is not None:
        return read_contract(params.adapter_dir)
    plan_file = (params.service_dir or Path()) / PLAN
    return contract_of_base(read_service_plan(plan_file), params.model_dir)


def _shortened(contract: ServingContract, most: int | None) -> ServingContract:
    if most is None or most >= contract.max_length:
        return contract
    return msgspec.structs.replace(contract, max_length=most)


def _listen(params: Params) -> socket.socket:
    family = socket.AF_INET6 if ":" in params.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((params.host, params.port))
    except OSError as error:
        listener.close()
        raise PermanentError(
            f"cannot listen on {params.host}:{params.port}: {error.strerror or error}"
        ) from error
    listener.listen(128)
    port = listener.getsockname()[1]
    if params.port_file is not None:
        atomic_write(params.port_file, f"{port}\n")
    log.event(_logger, "listening", host=params.host, port=port, pid=os.getpid())
    return listener


class _Loading(threading.Thread):
    """Loads the model while the server listens; a failure stops the server."""

    def __init__(
        self,
        params: Params,
        contract: ServingContract,
        load_engine: LoadEngine,
        service: Service,
        server: EndingServer,
    ) -> None:
        super().__init__(name="load", daemon=True)
        self.failure: Exception | None = None
        self.engine: Engine | None = None
        self.adapters: AdaptersDir | None = None
        self._params = params
        self._contract = contract
        self._load_engine = load_engine
        self._service = service
        self._server = server

    def fail(self, reason: str) -> None:
        """End the server, whose engine can answer no more."""
        self.failure = PermanentError(f"the engine can answer no more: {reason}")
        self._server.give_up()

    def run(self) -> None:
        try:
            self._load()
        # The main thread raises any error again, and argotune.steps.common.main reports it.
        except Exception as error:
            self.failure = error
            self._server.give_up()

    def _load(self) -> None:
        began, params = time.monotonic(), self._params
        tokenizer = load_tokenizer(params.model_dir, self._contract)
        engine = self._load_engine(params, self._contract, tokenizer)
        first = params.name if params.adapter_dir is not None else None
        self.engine = engine
        if params.service_dir is not None:
            asyncio.run(_add_adapters(params.service_dir, engine, self._service))
        # A warm-up answer, because torch initializes much at its first use.
        try:
            asyncio.run(_warm_up(engine, first))
        except (EngineError, TimeoutError) as error:
            raise PermanentError(f"the model cannot answer: {error}") from error
        if params.adapters_dir is not None:
            adapters = AdaptersDir(
                params.adapters_dir,
                engine,
                reserved={params.name, *engine.adapters()},
                note_digest=self._service.note_digest,
            )
            self.adapters = adapters
            asyncio.run(adapters.follow())
            follow_in_thread(adapters)
        self._service.set_ready(
            Ready(
                engine,
                Conversations(engine, tokenizer, name=params.name, log_prompts=params.log_prompts),
                Admission(engine.slots, params.queue_size),
            )
        )
        log.event(_logger, "ready", name=params.name, seconds=time.monotonic() - began)


async def _add_adapters(service_dir: Path, engine: Engine, service: Service) -> None:
    """Serve the adapters of a service without training, each by its name. Raises PermanentError."""
    for adapter in read_service_plan(service_dir / PLAN).adapters:
        await engine.add_adapter(adapter.name, service_dir / ADAPTERS / adapter.name)
        service.note_digest(adapter.name, adapter.digest or None)


async def _warm_up(engine: Engine, name: str | None) -> None:
    """Raises EngineError if the engine cannot answer."""
    question = Question(
        prompt=(0,),
        adapter=name,
        max_new_tokens=2,
        sampling=Sampling(temperature=0, top_p=1, seed=0),
        # vLLM compiles what finds them, which would take its first question half a minute.
        top_logprobs=1,
    )
    async for _ in engine.answer(question, Answer(), time.monotonic() + _WARM_UP_SECONDS):
        pass
