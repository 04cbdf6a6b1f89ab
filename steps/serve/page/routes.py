"""GET / and GET /card: the page, which works without any other host, and what it shows."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec
from fastapi import FastAPI, Response

from argotune.steps.contracts.model_card import ModelCard, read_card
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.schema.responses import errors

_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


def add_page_routes(app: FastAPI, adapter_dir: Path | None, *, digest: str | None) -> None:
    """Add the page of the adapter in this directory; `digest` is its image's, where it is known.

    None: the service has no adapter of its own. Raises PermanentError if its card is not one.
    """
    card = None if adapter_dir is None else _with_digest(read_card(adapter_dir), digest)
    missing = (
        "this service has no adapter of its own, and so no card"
        if adapter_dir is None
        else "this adapter has no card; it was made by an earlier version"
    )

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        text, policy = _page()
        headers = {
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(text, media_type="text/html; charset=utf-8", headers=headers)

    @app.get("/card", summary="What is known of the adapter's training", responses=errors("4XX"))
    async def model_card() -> Response:
        if card is None:
            raise ApiError(404, missing)
        return Response(msgspec.json.encode(card), media_type="application/json")


def _with_digest(card: ModelCard | None, digest: str | None) -> ModelCard | None:
    if card is None or digest is None:
        return card
    return msgspec.structs.replace(card, facts={"image digest": digest} | card.facts)


@cache
def _page() -> tuple[str, str]:
    """The page's text and its Content-Security-Policy: its own style, script and server alone."""
    text = resources.files("argotune.steps.serve.page").joinpath("index.html").read_text("utf-8")
    sources = {
        kind: f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
        for kind, content in _INLINE.findall(text)
    }
    policy = {
        "default-src": "'none'",
        "style-src": sources["style"],
        "script-src": sources["script"],
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return text, "; ".join(f"{name} {value}" for name, value in policy.items())
