"""Workflow objects as the engine records them, as far as they are shown."""

from __future__ import annotations

from typing import Any

START = "2026-01-01T00:00:00Z"
END = "2026-01-01T00:00:07Z"

Node = dict[str, Any]


def node(name: str, phase: str, **more: Any) -> Node:
    """A pod's node; it began at START, and ended at END unless it still runs."""
    ended = phase not in ("Pending", "Running")
    return {
        "id": name,
        "displayName": name,
        "type": "Pod",
        "templateName": name,
        "phase": phase,
        "startedAt": START,
        "finishedAt": END if ended else None,
    } | more


def attempt(name: str, phase: str, **more: Any) -> Node:
    return node(name, phase, nodeFlag={"retried": True}, **more)


def retry(name: str, phase: str, *attempts: Node, **more: Any) -> list[Node]:
    """A Retry node and its attempts."""
    children = [each["id"] for each in attempts]
    return [node(name, phase, type="Retry", children=children, **more), *attempts]


def workflow_of(*nodes: Node) -> dict[str, Any]:
    return {"metadata": {"name": "one"}, "status": {"nodes": {each["id"]: each for each in nodes}}}
