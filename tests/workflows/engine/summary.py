"""What must be the same here and on real Argo: phases, outputs, retries and the tree."""

from typing import Any

# The message of an error is said in each engine's own words.
_WITH_MESSAGE = {"Skipped", "StepGroup", "Steps", "DAG", "TaskGroup", "Retry"}
# Whether SIGTERM or SIGKILL ends a container, and whether Argo sees it, is a matter of time.
_KILLED = {"143", "137"}


def summary(workflow: dict[str, Any]) -> dict[str, Any]:
    """A finished Workflow object without what differs from run to run."""
    status = workflow["status"]
    nodes = status.get("nodes", {})
    names = {node["id"]: _relative(node["name"], workflow) for node in nodes.values()}
    return {
        "phase": status["phase"],
        "outputs": _parameters(status.get("outputs")),
        "nodes": {
            names[node["id"]]: _node(node, names)
            for node in sorted(nodes.values(), key=lambda node: str(node["name"]))
        },
    }


def _relative(name: str, workflow: dict[str, Any]) -> str:
    return name.removeprefix(workflow["metadata"]["name"]) or "."


def _node(node: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    outputs = node.get("outputs") or {}
    found: dict[str, Any] = {
        "type": node["type"],
        "phase": node["phase"],
        "displayName": node["displayName"],
        "inputs": _parameters(node.get("inputs")),
        "outputs": _parameters(outputs),
        "result": outputs.get("result"),
        "exitCode": None if outputs.get("exitCode") in _KILLED else outputs.get("exitCode"),
        "children": sorted(names[child] for child in node.get("children") or []),
        "message": node.get("message") if _has_same_message(node) else None,
    }
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _has_same_message(node: dict[str, Any]) -> bool:
    return node["type"] in _WITH_MESSAGE and node["phase"] != "Error"


def _parameters(holder: dict[str, Any] | None) -> dict[str, str]:
    return {
        parameter["name"]: parameter.get("value")
        for parameter in (holder or {}).get("parameters") or []
    }
