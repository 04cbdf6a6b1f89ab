"""What a server says of itself: health and metrics."""

from __future__ import annotations

from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from argotune.steps.serve.schema.responses import Health, errors
from argotune.steps.serve.service import Service


def add_status_routes(app: FastAPI, service: Service) -> None:
    """GET /health and GET /metrics."""

    @app.get("/health", summary="Whether questions are answered", responses=errors("5XX"))
    async def health() -> Health:
        _ = service.ready
        return Health(status="ok")

    @app.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
