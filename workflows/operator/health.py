"""What Kubernetes and Prometheus ask the operator: /healthz, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)


class Metrics:
    """The operator's figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.looks = Counter(
            "argotune_operator_reconciliations",
            "Looks at a Workspace: done, retried after an error, or failed by a bug.",
            ["result"],
            registry=self.registry,
        )
        self.workspaces = Gauge(
            "argotune_operator_workspaces", "Workspaces that there are.", registry=self.registry
        )
        self.requests = Gauge(
            "argotune_operator_api_requests_total",
            "Requests of the reconciliation to the API server, without kopf's watches.",
            registry=self.registry,
        )
        self.leads = Gauge(
            "argotune_operator_leader", "1 for the replica that works.", registry=self.registry
        )


async def serve(metrics: Metrics, port: int, is_alive: Callable[[], bool]) -> web.AppRunner:
    """Answer on the port of all addresses until the runner is cleaned up. Raises OSError."""

    async def healthz(request: web.Request) -> web.Response:
        # A replica that stands by is ready too: it has nothing to answer but this.
        if is_alive():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="a worker hangs\n")

    async def show(request: web.Request) -> web.Response:
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", healthz)
    app.router.add_get("/metrics", show)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
