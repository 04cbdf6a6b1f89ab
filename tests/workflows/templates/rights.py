"""Rights: those that the rules of a role give, and those that requests to an API server take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

Right = tuple[str, str, str]
"""API group, resource and verb."""

_PATH = re.compile(
    r"/apis?(?:/(?P<group>[a-z.0-9]+))?/v[0-9][a-z0-9]*(?:/namespaces/[^/]+)?/(?P<resource>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?P<part>/[a-z]+)?"
)


def rights(rules: Sequence[dict[str, Any]]) -> set[Right]:
    """All that the rules of a role give."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def rights_for(request: str) -> Iterator[Right]:
    """What RBAC asks for a request, `METHOD path?query`."""
    place, _, query = request.partition("?")
    method, path = place.split()
    found = _PATH.fullmatch(path)
    assert found, path
    of_all = "watch" if "watch=" in query else "list"
    verbs = {
        "GET": ["get" if found["name"] else of_all],
        # An apply of what is not there is a creation too; a merge is not.
        "PATCH": ["patch", "create"] if "force=" in query else ["patch"],
        "POST": ["create"],
        "PUT": ["update"],
        "DELETE": ["delete"],
    }[method]
    resource = found["resource"] + (found["part"] or "")
    yield from ((found["group"] or "", resource, verb) for verb in verbs)
