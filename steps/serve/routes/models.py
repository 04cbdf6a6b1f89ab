"""GET /v1/models: the adapters and the base model that are served."""

from __future__ import annotations

from fastapi import FastAPI

from argotune.steps.serve.schema.responses import ModelList, ModelObject, errors
from argotune.steps.serve.service import Service


def add_model_routes(app: FastAPI, service: Service) -> None:
    """GET /v1/models and GET /v1/models/ID."""

    @app.get(
        "/v1/models",
        summary="The models that are served",
        responses=errors(),
        response_model_exclude_none=True,
    )
    async def models() -> ModelList:
        names = service.ready.conversations.names()
        return ModelList(object="list", data=[_model(service, name) for name in names])

    # Names of base models have slashes.
    @app.get(
        "/v1/models/{model:path}",
        summary="One of the models",
        responses=errors(),
        response_model_exclude_none=True,
    )
    async def model(model: str) -> ModelObject:
        return _model(service, model)


def _model(service: Service, name: str) -> ModelObject:
    """One model. Raises ApiError 404."""
    conversations = service.ready.conversations
    base_name = conversations.base_name
    is_base = conversations.is_base(name)
    return ModelObject(
        id=name,
        object="model",
        created=service.started,
        owned_by=base_name.partition("/")[0] if is_base else "argotune",
        max_model_len=conversations.contract(name).max_length,
        parent=None if is_base else base_name,
    )
