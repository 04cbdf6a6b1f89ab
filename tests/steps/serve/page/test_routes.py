"""GET / and GET /card, by the application itself."""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64decode
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.model_card import FILE_NAME, ModelCard, write_card
from argotune.steps.serve.errors import add_error_handlers
from argotune.steps.serve.page.routes import add_page_routes

CARD = ModelCard(
    facts={"data digest": "sha256:d"}, train_loss=[(1, 2.5)], held_out_loss=[(0, 3.0), (1, 2.0)]
)


def get(path: str, adapter_dir: Path, *, digest: str | None = None) -> httpx.Response:
    app = FastAPI()
    add_error_handlers(app)
    add_page_routes(app, adapter_dir, digest=digest)

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.get(path)

    return asyncio.run(answer())


def test_the_policy_of_the_page_allows_its_own_style_script_and_server_alone(
    tmp_path: Path,
) -> None:
    page = get("/", tmp_path)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(
        part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; ")
    )
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    for kind in ("style", "script"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page.text, flags=re.DOTALL)
        (digest,) = re.findall(r"^'sha256-(.+)'$", policy[f"{kind}-src"])
        assert b64decode(digest) == hashlib.sha256(content.encode()).digest()
    # Nothing comes from elsewhere, and no text is taken for HTML.
    assert re.findall(r"https?://[^\"]+", page.text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r" on\w+=|style=|innerHTML|insertAdjacentHTML|document\.write", page.text)


def test_the_card_is_the_adapters_with_the_digest_of_its_image(tmp_path: Path) -> None:
    write_card(tmp_path, CARD)
    assert get("/card", tmp_path, digest="sha256:i").json() == {
        "facts": {"image digest": "sha256:i", "data digest": "sha256:d"},
        "train_loss": [[1, 2.5]],
        "held_out_loss": [[0, 3.0], [1, 2.0]],
    }


def test_an_adapter_of_an_earlier_version_has_no_card(tmp_path: Path) -> None:
    answer = get("/card", tmp_path)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("this adapter has no card")


def test_a_card_that_is_none_is_an_error_before_the_start(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("[]")
    with pytest.raises(PermanentError, match=r"card\.json: not a model card: Expected `object`"):
        get("/card", tmp_path)
