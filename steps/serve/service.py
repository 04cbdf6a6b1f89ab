"""What all requests to one server share."""

from __future__ import annotations

import time
from dataclasses import dataclass

from argotune.steps.serve.admission import Admission
from argotune.steps.serve.conversation import Conversations
from argotune.steps.serve.ending import Ending
from argotune.steps.serve.engine.interface import Engine
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.metrics import Metrics


@dataclass(frozen=True)
class Ready:
    """What answers questions once it is loaded."""

    engine: Engine
    conversations: Conversations
    admission: Admission


class Service:
    """The engine, once it is loaded, and the state that all requests share."""

    def __init__(self, *, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self.metrics = Metrics()
        self.started = int(time.time())
        self.ending = Ending()
        self._ready: Ready | None = None

    @property
    def ready(self) -> Ready:
        """What answers. Raises ApiError 503 while the model is being loaded."""
        if self._ready is None:
            raise ApiError(
                503,
                "the model is being loaded",
                kind="unavailable_error",
                code="loading",
                headers={"Retry-After": "2"},
            )
        return self._ready

    def set_ready(self, ready: Ready) -> None:
        """Start to answer questions; called from the thread that loaded the engine."""
        self._ready = ready
        self.metrics.ready.set(1)
        self.metrics.waiting.set_function(lambda: ready.admission.waiting)
        self.ending.on_refusal(ready.admission.close)
