"""What an interrupted run keeps, and the removal of what it left behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from argotune.workflows.engine.model import Node, NodeType, Phase
from argotune.workflows.engine.pods.process_groups import end_groups, groups_of_pods

_GROUPS = frozenset({NodeType.DAG, NodeType.STEPS, NodeType.STEP_GROUP, NodeType.TASK_GROUP})
_KEPT = frozenset({Phase.SUCCEEDED, Phase.SKIPPED, Phase.OMITTED})


def kept_nodes(nodes: Mapping[str, Node], workflow_name: str) -> dict[str, Node]:
    """The nodes that a resumed run keeps; the groups around them are Running again.

    Nodes that failed or did not finish run again, and so do all nodes after them. A Retry node
    begins with its first attempt. The workflow's exit handler runs again at the end.
    """
    dropped = _with_descendants(
        nodes,
        [
            node.id
            for node in nodes.values()
            if _must_run_again(node) or _is_exit_handler(node, workflow_name)
        ],
    )
    kept = {node_id: node for node_id, node in nodes.items() if node_id not in dropped}
    for node in kept.values():
        node.children = [child for child in node.children if child not in dropped]
        node.outbound_nodes = [child for child in node.outbound_nodes if child not in dropped]
        if node.type in _GROUPS and node.phase is not Phase.SUCCEEDED:
            node.phase, node.message = Phase.RUNNING, ""
            node.finished_at = node.outputs = None
    return kept


def _must_run_again(node: Node) -> bool:
    return node.type not in _GROUPS and node.phase not in _KEPT


def _is_exit_handler(node: Node, workflow_name: str) -> bool:
    return node.name == f"{workflow_name}.onExit" or (
        node.name.startswith(f"{workflow_name}.onExit") and not node.boundary_id
    )


def _with_descendants(nodes: Mapping[str, Node], first: Iterable[str]) -> set[str]:
    """`first` and all nodes inside or after it."""
    inside: dict[str, list[str]] = {}
    for node in nodes.values():
        inside.setdefault(node.boundary_id, []).append(node.id)
    found: set[str] = set()
    waiting = list(first)
    while waiting:
        node_id = waiting.pop()
        if node_id in found or node_id not in nodes:
            continue
        found.add(node_id)
        waiting.extend(nodes[node_id].children)
        waiting.extend(inside.get(node_id, []))
    return found


def clear_pods(pods_dir: Path, grace_seconds: float) -> None:
    """End the processes that a killed engine left running, and remove their directories."""
    end_groups(set().union(*groups_of_pods(pods_dir).values()), grace_seconds)
    shutil.rmtree(pods_dir, ignore_errors=True)
