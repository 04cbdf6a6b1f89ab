"""Dataset URLs with queries, which may hold tokens: they go into a Secret, the Workflow gets them
without."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from steps.common.urls import redact

KEY = "urls.json"


def split_urls(
    name: str,
    urls: Sequence[str],
    arguments: Mapping[str, str],
    secret_name: str | None = None,
) -> tuple[dict[str, str], dict[str, Any] | None]:
    """The arguments without queries, and the Secret that has them; None where there are none.

    Without a name for it, the Secret's name follows from its content, so that runs with other
    URLs do not share it.
    """
    if not any("?" in url for url in urls):
        return dict(arguments), None
    text = json.dumps(list(urls))
    secret_name = secret_name or f"{name}-urls-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name,
            "labels": {"app.kubernetes.io/part-of": "argotune", "argotune.dev/workspace": name},
        },
        "immutable": True,
        "stringData": {KEY: text},
    }
    redacted = json.dumps([redact(url) for url in urls], ensure_ascii=False)
    return {**arguments, "urls": redacted, "urls-secret": secret_name}, secret
