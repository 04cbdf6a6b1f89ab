"""What the Secret of a webhook holds, and what its text tells before a run; notify alone calls it.

The URL is a secret: what is said of it has no part of it but the host.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from argotune.steps.common.addresses import is_allowed
from argotune.steps.common.urls import host_problem, url_port

Format: TypeAlias = Literal["slack", "cloudevents"]
FORMATS: tuple[Format, ...] = ("slack", "cloudevents")
NO_URL = "is no https URL"


def url_problem(url: str, *, allowed_hosts: Collection[str], allow_loopback: bool) -> str | None:
    """Why notify refuses the URL by its text; None: it does not.

    `allowed_hosts` are HOST or HOST:PORT in lower case. notify checks every address, too.
    """
    try:
        parts, port = urlsplit(url), url_port(url)
    except ValueError:
        return NO_URL
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return NO_URL
    problem = host_problem(url, allowed_hosts=allowed_hosts, allow_loopback=allow_loopback)
    if problem is not None:
        return f"is refused: {problem}"
    is_trusted = allow_loopback or is_allowed(parts.hostname, port, allowed_hosts)
    if parts.scheme == "http" and not is_trusted:
        return (
            f"of {parts.hostname} is without TLS; accepted is https, and http of a host that"
            " `argotune install --allow-host` permits"
        )
    return None


def format_problem(given: str) -> str | None:
    """Why the Secret's format is refused; None: it is not, or there is none."""
    if not given or read_format(given) is not None:
        return None
    return f"is {given!r}; accepted are {' and '.join(FORMATS)}"


def read_format(given: str) -> Format | None:
    """The format of a text; None for another text."""
    return next((each for each in FORMATS if each == given.strip().lower()), None)
