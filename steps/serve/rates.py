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
        if self._per_minute:
            self._spend(client, 1)

    def spend_rest(self, client: str, questions: int) -> None:
        """Count the other questions of a request for several, whose first one is counted.

        Raises ApiError 429 where the client has asked too many, and 400 where it could never ask so
        many at once. Then its first one does not count either, or else it would find one too few
        when it asks again.
        """
        if not self._per_minute or questions == 1:
            return
        self._full_at[client] = self._full_at.get(client, 0.0) - self._seconds_each
        if questions > self._per_minute:
            raise ApiError(
                400,
                f"the request asks for {questions} answers, prompts times n; a client may ask "
                f"{self._per_minute} questions a minute, so send them in several requests",
                code="too_many_answers",
            )
        self._spend(client, questions)

    def _spend(self, client: str, questions: int) -> None:
        now = self._clock()
        full_at = max(now, self._full_at.get(client, now)) + questions * self._seconds_each
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

    @property
    def _seconds_each(self) -> float:
        return _MINUTE / self._per_minute
