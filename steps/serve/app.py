"""The HTTP interface, put together: routes, error responses and middleware."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from argotune.steps.contracts.served import ADAPTER_HEADER
from argotune.steps.serve.authentication import Authentication
from argotune.steps.serve.body_limit import BodyLimit
from argotune.steps.serve.ending import CloseConnections
from argotune.steps.serve.errors import add_error_handlers, server_error
from argotune.steps.serve.head import AnswerHead
from argotune.steps.serve.keys import ClientKeys
from argotune.steps.serve.outcomes import RecordOutcomes
from argotune.steps.serve.request_ids import HEADER as REQUEST_ID_HEADER
from argotune.steps.serve.request_ids import RequestIds
from argotune.steps.serve.routes.chat import add_chat_route
from argotune.steps.serve.routes.chat_completions import add_chat_completions_route
from argotune.steps.serve.routes.completions import add_completions_route
from argotune.steps.serve.routes.models import add_model_routes
from argotune.steps.serve.routes.responses import add_responses_route
from argotune.steps.serve.routes.status import add_status_routes
from argotune.steps.serve.service import Service


def make_app(
    service: Service,
    *,
    max_body_bytes: int,
    body_seconds: float = 30.0,
    keys: ClientKeys | None = None,
    cors_origins: Sequence[str] = (),
) -> FastAPI:
    """The application, which answers questions with status 503 until the service is ready."""
    app = FastAPI(
        title="argotune serve",
        description="OpenAI's API for a tuned model and its base.",
        # Of the routes; in an image argotune is no package that has a version.
        version="1",
        docs_url=None,
        redoc_url=None,
        # Behind a proxy that speaks TLS, the address that a redirection names is wrong.
        redirect_slashes=False,
    )
    add_error_handlers(app)
    add_status_routes(app, service)
    add_chat_route(app, service)
    add_chat_completions_route(app, service)
    add_completions_route(app, service)
    add_responses_route(app, service)
    add_model_routes(app, service)
    paths = frozenset(route.path for route in app.routes if isinstance(route, APIRoute))
    # The last one is the first that sees a request.
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes, seconds=body_seconds)
    app.add_middleware(Authentication, keys=keys, rates=service.rates)
    if cors_origins:
        # Before the keys, because a browser asks without one whether it may send it.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[ADAPTER_HEADER, REQUEST_ID_HEADER, "Retry-After"],
        )
    app.add_middleware(AnswerHead)
    app.add_middleware(RecordOutcomes, metrics=service.metrics, paths=paths)
    app.add_middleware(CloseConnections, ending=service.ending)
    app.add_middleware(RequestIds, failure=lambda: server_error().response())
    return app
