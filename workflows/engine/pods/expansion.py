"""Kubernetes' expansion of `$(NAME)` in a container's command, args and values of env."""

from __future__ import annotations

import re
from collections.abc import Mapping

# A name is whatever stands before the next `)`, as in k8s.io/kubernetes
# third_party/forked/golang/expansion: in `$(a$$b)` the name is `a$$b`.
_REFERENCE = re.compile(r"\$(?:\$|\((?P<name>[^)]*)\))")


def expand(text: str, environment: Mapping[str, str]) -> str:
    """`text` with each `$(NAME)` of an existing variable replaced, and `$$` as `$`.

    Everything else stays, and what was inserted is not expanded again.
    """

    def replace(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        return environment.get(match["name"], match.group())

    return _REFERENCE.sub(replace, text)
