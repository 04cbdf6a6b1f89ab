"""What a server says of itself: health, metrics, and the models that it serves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from argotune.steps.serve.service import Service


def add_status_routes(app: FastAPI, service: Service) -> None:
    """Health, metrics and the list of models."""

    @app.get("/health")
    async def health() -> dict[str, str]:
        _ = service.ready
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        base_name = service.ready.conversations.base_name
        base = {"id": base_name, "object": "model", "created": service.started}
        adapters = [
            {**base, "id": name, "owned_by": "argotune", "parent": base_name}
            for name in service.ready.engine.adapters()
        ]
        return {
            "object": "list",
            "data": [*adapters, {**base, "owned_by": base_name.partition("/")[0]}],
        }
