"""tuning.input: the dataset URLs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from argotune.steps.common.urls import internal_host, redact, url_problem
from argotune.workflows.workspace.fields import Fields
from argotune.workflows.workspace.tags import unsafe


def read_urls(fields: Fields, allow_loopback: bool) -> tuple[str, ...]:
    """Read all dataset URLs; no message shows their queries."""
    urls = _urls_of_flag(fields) if "urls" in fields.overrides else _urls_of_file(fields)
    for index, url in enumerate(urls):
        if not url:
            continue
        path = f"{fields.shown('tuning.input.urls', 'urls')}[{index}]"
        problem = url_problem(url, allow_loopback=allow_loopback) or unsafe(url)
        if problem is not None:
            fields.problems.append(f"{path}: {redact(url)!r}: {problem}")
            continue
        host = internal_host(url)
        if host is not None:
            fields.warnings.append(
                f"{path}: {host} is inside a private network; it is fetched from only where"
                f" `argotune install --allow-host {host}` permits it"
            )
        if "?" in url:
            fields.warnings.append(
                f"{path}: the query of {redact(url)} may hold a token: it goes into a Secret and "
                "is in no argument, log, name or image"
            )
    return tuple(urls)


def refused_urls(urls: Sequence[str]) -> list[str]:
    """List the URLs that a run without --allow-loopback would refuse, each with the reason."""
    found = [(index, url, url_problem(url, allow_loopback=False)) for index, url in enumerate(urls)]
    return [
        f"tuning.input.urls[{index}]: {redact(url)!r}: {problem}"
        for index, url, problem in found
        if problem is not None
    ]


def _urls_of_flag(fields: Fields) -> list[str]:
    try:
        urls = json.loads(fields.overrides["urls"])
    except (ValueError, RecursionError):
        urls = None
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        fields.problems.append('--urls: accepted is a JSON list of URLs, such as ["https://..."]')
        return []
    return urls


def _urls_of_file(fields: Fields) -> list[str]:
    given = [
        name for name in ("urls", "image", "volumeSource") if fields.get(f"tuning.input.{name}")
    ]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        fields.problems.append(
            f"tuning.input: {found}; accepted is exactly one of urls, image and volumeSource"
        )
    for name in ("image", "volumeSource"):
        if name in given:
            fields.problems.append(
                f"tuning.input.{name}: not supported yet; put the files behind https URLs and "
                "name them in tuning.input.urls"
            )
    return fields.texts("tuning.input.urls")
