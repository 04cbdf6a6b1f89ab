"""Tokens in dataset URLs."""

from __future__ import annotations

import json

from argotune.workflows.workspace.manifests import URLS_KEY
from argotune.workflows.workspace.workflow import split_urls

PLAIN = "https://example.com/a.parquet"
TOKEN = "https://example.com/b.parquet?sig=hunter2"
ARGUMENTS = {"preset": "tiny", "urls": "replaced"}


def test_urls_without_a_query_need_no_secret() -> None:
    assert split_urls("mine", [PLAIN], ARGUMENTS) == (ARGUMENTS, None)


def test_one_query_puts_all_urls_into_the_secret() -> None:
    arguments, secret = split_urls("mine", [PLAIN, TOKEN], ARGUMENTS)
    assert secret is not None
    assert json.loads(secret["stringData"][URLS_KEY]) == [PLAIN, TOKEN]
    assert json.loads(arguments["urls"]) == [PLAIN, "https://example.com/b.parquet"]
    assert arguments["urls-secret"] == secret["metadata"]["name"]
    assert arguments["preset"] == "tiny"


def test_the_secrets_name_follows_from_its_content() -> None:
    names = [
        secret["metadata"]["name"]
        for urls in ([TOKEN], [TOKEN], [TOKEN + "2"])
        if (secret := split_urls("mine", urls, ARGUMENTS)[1])
    ]
    assert len(names) == 3
    assert names[0] == names[1] != names[2]
    assert all(name.startswith("mine-urls-") for name in names)
