"""Servers inside the network that a run names, refused before the steps that would ask them.

A judge is asked after the training. What the text of a URL tells is refused with all other problems
of the run; in a pod the judges' names are looked up besides.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from argotune.steps.common.urls import host_problem, redact, url_port, url_problem
from argotune.steps.contracts.checks import Check, Judge
from argotune.steps.registry.policy import RegistryPolicy


def host_problems(settings: Mapping[str, str], checks: Sequence[Check]) -> Iterator[str]:
    """List the URLs of data and judges whose servers the installation does not permit.

    `settings` has those of the installation; without allowed-hosts none is asked for. A URL that is
    refused for its form is left out.
    """
    if "allowed-hosts" not in settings:
        return
    allowed = [host.lower() for host in json.loads(settings["allowed-hosts"])]
    allow_loopback = settings.get("allow-loopback") == "true"
    for place, url in [*_data(settings), *_judges(checks)]:
        if url_problem(url, allow_loopback=True, allow_files=True) is not None:
            continue
        problem = host_problem(url, allowed_hosts=allowed, allow_loopback=allow_loopback)
        if problem is not None:
            yield f"{place}: {redact(url)!r}: {problem}"


def look_up_judges(
    settings: Mapping[str, str], checks: Sequence[Check], policy: RegistryPolicy
) -> None:
    """Look up the judges' names in a pod.

    Raises PermanentError for one that the run's pods may not reach, TransientError where the name
    server does not answer.
    """
    if not policy.is_pod:
        return
    allowed = frozenset(host.lower() for host in json.loads(settings.get("allowed-hosts", "[]")))
    of_judges = dataclasses.replace(policy, allowed_hosts=allowed, what="judge")
    for _, url in _judges(checks):
        of_judges.addresses(urlsplit(url).hostname or "", url_port(url))


def _data(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in ("urls", "validation-urls"):
        try:
            urls = json.loads(settings.get(name, "[]"))
        except (ValueError, RecursionError):
            continue  # reported already
        yield from ((f"{name}: [{index}]", str(url)) for index, url in enumerate(urls))


def _judges(checks: Sequence[Check]) -> Iterator[tuple[str, str]]:
    for check in checks:
        if isinstance(check, Judge):
            yield f"config: url of check {check.title}", check.url
