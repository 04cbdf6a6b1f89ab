"""Prometheus metrics of one server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from argotune.steps.contracts.served import WAITING_METRIC

MOST_CLIENTS = 256
"""With labels of their own, because each is a time series of each model and status."""
OTHER_CLIENTS = "(other)"
"""Label of all further ones; no name of a key has brackets."""
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """One registry per server, so that one process can have several servers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._clients: set[str] = set()
        self.requests = Counter(
            "argotune_requests",
            "Requests by path, status, and name of the client's key",
            ["path", "status", "client"],
            registry=self.registry,
        )
        self.prompt_tokens = Counter(
            "argotune_prompt_tokens",
            "Tokens of questions, by model, and name of the client's key",
            ["model", "client"],
            registry=self.registry,
        )
        self.answer_tokens = Counter(
            "argotune_answer_tokens",
            "Tokens of answers, by model, and name of the client's key",
            ["model", "client"],
            registry=self.registry,
        )
        self.first_token_seconds = Histogram(
            "argotune_first_token_seconds",
            "Seconds from the request's arrival to the first token, including the wait",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.answer_seconds = Histogram(
            "argotune_answer_seconds",
            "Seconds from the request's arrival to the answer's end",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.waiting = Gauge(
            WAITING_METRIC,
            "Requests in the queue",
            registry=self.registry,
        )
        self.ready = Gauge(
            "argotune_ready", "1 once base and adapter are loaded", registry=self.registry
        )

    def client(self, name: str) -> str:
        """The label for the client with a key of this name.

        Keys come and go while the server runs, so the file does not bound how many it has had.
        """
        if len(self._clients) < MOST_CLIENTS:
            self._clients.add(name)
        return name if name in self._clients else OTHER_CLIENTS

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
