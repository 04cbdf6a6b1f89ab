"""URLs with tokens in their queries: a mounted Secret has them, the parameter omits the queries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.urls import redact


def full_urls(flag: str, urls: Sequence[str], secret_file: Path | None) -> tuple[str, ...]:
    """The URLs of the file, or the given ones if the file does not exist; `flag` names them.

    Raises ParamsError if the file is not a list of the same URLs; the message quotes none of it.
    """
    if secret_file is None or not secret_file.exists():
        return tuple(urls)
    try:
        found = json.loads(secret_file.read_text())
    except (ValueError, RecursionError) as error:
        raise ParamsError(f"--{flag}-file: {secret_file} is not JSON") from error
    if not isinstance(found, list) or not all(isinstance(url, str) for url in found):
        raise ParamsError(f"--{flag}-file: {secret_file} is not a JSON list of URLs")
    if [redact(url) for url in found] != [redact(url) for url in urls]:
        raise ParamsError(
            f"--{flag}-file: {secret_file} has other URLs than --{flag}; use the Secret that"
            " was created for them"
        )
    return tuple(found)
