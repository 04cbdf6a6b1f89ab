"""Kubernetes' expansion of `$(NAME)` in a container's command, args and values of env."""

from __future__ import annotations


def literal(text: str) -> str:
    """Escape `text` for a manifest so that the container gets it unchanged.

    Kubernetes replaces `$$` by `$`, and `$(NAME)` where the container has that variable.
    """
    return text.replace("$", "$$")
