"""How many questions a client may ask: a bucket for each, filled at a constant rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from argotune.steps.serve.errors import ApiError

_MINUTE = 60.0


class Rates:
    """The questions that each client may still ask."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_minute`: how many in a minute, also all at once; 0: any number."""
        self._per_minute = per_minute
        self._clock = clock
        self._full_at: dict[str, float] = {}
        """When each client's bucket is full again, if it is not."""

    def spend(self, client: str) -> None:
        """Count a question. Raises ApiError 429 where the client has asked too many."""
        if not self._per_minute:
            return
        now, seconds_each = self._clock(), _MINUTE / self._per_minute
        full_at = max(now, self._full_at.get(client, now)) + seconds_each
        wait = full_at - now - _MINUTE
        if wait > 1e-9:  # sums of floats
            raise ApiError(
                429,
                f"this client may ask {self._per_minute} questions a minute; try again later",
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(math.ceil(wait))},
            )
        self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        self._full_at[client] = full_at
