"""Tokens in dataset URLs."""

from __future__ import annotations

import json
from typing import Any

from argotune.workflows.workspace.manifests import URL_KEYS
from argotune.workflows.workspace.workflow import split_urls
from tests.workflows.workspace.helpers import changed, read

PLAIN = "https://example.com/a.parquet"
TOKEN = "https://example.com/b.parquet?sig=hunter2"
ARGUMENTS = {"preset": "tiny", "urls": "replaced"}


def split(*urls: str, validation: tuple[str, ...] = ()) -> tuple[dict[str, str], Any]:
    fields = {"metadata/name": "mine", "tuning/input/urls": list(urls)}
    if validation:
        fields["tuning/input/validationUrls"] = list(validation)
    return split_urls(read(changed(fields)), ARGUMENTS)


def test_urls_without_a_query_need_no_secret() -> None:
    assert split(PLAIN) == (ARGUMENTS, None)


def test_one_query_puts_all_urls_into_the_secret() -> None:
    arguments, secret = split(PLAIN, TOKEN)
    assert {key: json.loads(text) for key, text in secret["stringData"].items()} == {
        "urls.json": [PLAIN, TOKEN]
    }
    assert json.loads(arguments["urls"]) == [PLAIN, "https://example.com/b.parquet"]
    assert arguments["urls-secret"] == secret["metadata"]["name"]
    assert arguments["preset"] == "tiny"


def test_tokens_of_validation_files_are_in_the_secret_too() -> None:
    arguments, secret = split(PLAIN, validation=(TOKEN,))
    assert json.loads(secret["stringData"][URL_KEYS["validation-urls"]]) == [TOKEN]
    assert json.loads(secret["stringData"][URL_KEYS["urls"]]) == [PLAIN]
    assert json.loads(arguments["validation-urls"]) == ["https://example.com/b.parquet"]
    assert "hunter2" not in str(arguments)


def test_the_secrets_name_follows_from_its_content() -> None:
    names = [
        secret["metadata"]["name"]
        for urls in ([TOKEN], [TOKEN], [TOKEN + "2"])
        if (secret := split(*urls)[1])
    ]
    assert len(names) == 3
    assert names[0] == names[1] != names[2]
    assert all(name.startswith("mine-urls-") for name in names)
