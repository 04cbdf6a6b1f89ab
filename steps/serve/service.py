"""What all requests to one server share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from argotune.steps.common import log
from argotune.steps.contracts.served import ADAPTER_HEADER
from argotune.steps.serve.admission import Admission
from argotune.steps.serve.conversation import Conversations
from argotune.steps.serve.ending import Ending
from argotune.steps.serve.engine.interface import Engine, EngineError
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.metrics import Metrics
from argotune.steps.serve.rates import Rates

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """What answers questions once it is loaded."""

    engine: Engine
    conversations: Conversations
    admission: Admission


class Service:
    """The engine, once it is loaded, and the state that all requests share."""

    def __init__(self, *, timeout_seconds: float, requests_per_minute: int = 0) -> None:
        """`requests_per_minute` is of one client; 0: any number."""
        self.timeout_seconds = timeout_seconds
        self._digests: dict[str, str | None] = {}
        self.metrics = Metrics()
        self.rates = Rates(requests_per_minute)
        self.started = int(time.time())
        self.ending = Ending()
        self._ready: Ready | None = None
        self._on_failure: list[Callable[[str], None]] = []

    @property
    def ready(self) -> Ready:
        """What answers.

        Raises ApiError 503 while the model is being loaded, and once the engine can answer no more.
        """
        if self._ready is None:
            raise ApiError(
                503,
                "the model is being loaded",
                kind="unavailable_error",
                code="loading",
                headers={"Retry-After": "2"},
            )
        if (reason := self._ready.engine.failure) is not None:
            # Known by a probe's question too, where an engine fails while nobody asks.
            self._end(reason)
            raise ApiError(
                503,
                "the engine can answer no more, and the server ends; see its log",
                kind="unavailable_error",
                code="engine_failed",
                headers={"Retry-After": "2"},
            )
        return self._ready

    def set_ready(self, ready: Ready) -> None:
        """Start to answer questions; called from the thread that loaded the engine."""
        self._ready = ready
        self.metrics.ready.set(1)
        self.metrics.waiting.set_function(lambda: ready.admission.waiting)
        self.ending.on_refusal(ready.admission.close)

    def adapter_headers(self, model: str) -> dict[str, str]:
        """The header by which a reply says which adapter answered, where that is known."""
        digest = self._digests.get(model)
        return {} if digest is None else {ADAPTER_HEADER: digest}

    def note_digest(self, adapter: str, digest: str | None) -> None:
        """Have replies of an adapter name its digest; None: it is not known."""
        self._digests[adapter] = digest

    def on_failure(self, end: Callable[[str], None]) -> None:
        """Have a function called with the reason when the engine can answer no more."""
        self._on_failure.append(end)

    def note_failed_answer(self, error: EngineError) -> None:
        """Log an answer that failed, and end the server if the engine can answer no more."""
        log.warn(_logger, "failed-answer", reason=error)
        reason = None if self._ready is None else self._ready.engine.failure
        if reason is not None:
            self._end(reason)

    def _end(self, reason: str) -> None:
        self.metrics.ready.set(0)
        ends, self._on_failure = self._on_failure, []
        for end in ends:
            end(reason)
