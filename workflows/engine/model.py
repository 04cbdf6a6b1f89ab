"""Nodes of a run: the content of Argo's `status.nodes`, and the names and ids of nodes."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, TypeAlias, TypeVar

JsonValue = TypeVar("JsonValue")
JsonObject = dict[str, Any]
Runtime: TypeAlias = Literal["process", "docker", "podman"]
"""What runs the containers on this machine."""

SCHEDULED_TIME_ANNOTATION = "workflows.argoproj.io/scheduled-time"
DISPLAY_NAME_ANNOTATION = "workflows.argoproj.io/display-name"
_SEPARATOR = re.compile(r"^(?:\[\d+\])?\.")


class Phase(StrEnum):
    """A node's phase; a workflow has those from PENDING to ERROR, except SKIPPED."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    SKIPPED = "Skipped"
    FAILED = "Failed"
    ERROR = "Error"
    OMITTED = "Omitted"

    @property
    def is_fulfilled(self) -> bool:
        """Whether the phase is final."""
        return self not in (Phase.PENDING, Phase.RUNNING)

    @property
    def is_completed(self) -> bool:
        """Whether the node ran to an end; skipped and omitted nodes did not."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.ERROR)

    @property
    def is_failed(self) -> bool:
        """Whether the phase is Failed or Error."""
        return self in (Phase.FAILED, Phase.ERROR)


class NodeType(StrEnum):
    """The type of a node."""

    POD = "Pod"
    STEPS = "Steps"
    STEP_GROUP = "StepGroup"
    DAG = "DAG"
    TASK_GROUP = "TaskGroup"
    RETRY = "Retry"
    SKIPPED = "Skipped"
    SUSPEND = "Suspend"

    @property
    def has_progress(self) -> bool:
        """Whether the node has its own progress, not the sum of its children's."""
        return self in (NodeType.POD, NodeType.SUSPEND)


@dataclass(slots=True)
class Node:
    """One node; times are seconds since the epoch, and RFC 3339 in the status."""

    id: str
    name: str
    display_name: str
    type: NodeType
    phase: Phase
    boundary_id: str = ""
    """Id of the DAG or Steps node that contains this one; empty for the root."""
    template_name: str = ""
    template_ref: JsonObject | None = None
    template_scope: str = ""
    """Argo's templateScope: where the caller's template was looked up."""
    message: str = ""
    started_at: float = field(default_factory=time.time)
    finished_at: float | None = None
    progress: str = ""
    """`N/M`."""
    inputs: JsonObject | None = None
    outputs: JsonObject | None = None
    children: list[str] = field(default_factory=list)
    outbound_nodes: list[str] = field(default_factory=list)
    """Ids of the last nodes inside a DAG or Steps node, below which the next node is linked."""
    host_node_name: str = ""
    hooked: bool = False
    """Whether the node is an exit hook."""
    retried: bool = False
    """Whether the node is an attempt below a Retry node."""
    waiting_for_lock: str = ""
    """Argo's name of the lock that the node waits for."""

    def to_status(self) -> JsonObject:
        """The node as Argo's NodeStatus, without empty fields."""
        flags = {"hooked": self.hooked, "retried": self.retried}
        status: JsonObject = {
            "id": self.id,
            "name": self.name,
            "displayName": self.display_name,
            "type": str(self.type),
            "templateName": self.template_name,
            "templateRef": self.template_ref,
            "templateScope": self.template_scope,
            "phase": str(self.phase),
            "boundaryID": self.boundary_id,
            "message": self.message,
            "startedAt": rfc3339(self.started_at),
            "finishedAt": None if self.finished_at is None else rfc3339(self.finished_at),
            "progress": self.progress,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "children": list(self.children),
            "outboundNodes": list(self.outbound_nodes),
            "hostNodeName": self.host_node_name,
            "nodeFlag": {name: True for name, is_set in flags.items() if is_set},
            "synchronizationStatus": (
                {"waiting": self.waiting_for_lock} if self.waiting_for_lock else None
            ),
        }
        return {key: value for key, value in status.items() if value not in (None, "", [], {})} | {
            "finishedAt": status["finishedAt"]
        }

    @classmethod
    def from_status(cls, status: JsonObject) -> Node:
        """The node of a NodeStatus that `to_status` wrote."""
        flags = status.get("nodeFlag", {})
        return cls(
            id=status["id"],
            name=status["name"],
            display_name=status["displayName"],
            type=NodeType(status["type"]),
            phase=Phase(status["phase"]),
            boundary_id=status.get("boundaryID", ""),
            template_name=status.get("templateName", ""),
            template_ref=status.get("templateRef"),
            template_scope=status.get("templateScope", ""),
            message=status.get("message", ""),
            started_at=from_rfc3339(status["startedAt"]),
            finished_at=(from_rfc3339(status["finishedAt"]) if status.get("finishedAt") else None),
            progress=status.get("progress", ""),
            inputs=status.get("inputs"),
            outputs=status.get("outputs"),
            children=list(status.get("children", [])),
            outbound_nodes=list(status.get("outboundNodes", [])),
            host_node_name=status.get("hostNodeName", ""),
            hooked=flags.get("hooked", False),
            retried=flags.get("retried", False),
        )

    @property
    def output_parameters(self) -> list[JsonObject]:
        """The output parameters; empty if there are no outputs yet."""
        found: list[JsonObject] = (self.outputs or {}).get("parameters", [])
        return found

    @property
    def duration_seconds(self) -> float:
        """Seconds from the start to the end, or to now."""
        return (time.time() if self.finished_at is None else self.finished_at) - self.started_at


def copied(value: JsonValue) -> JsonValue:
    """Return a copy of a value of JSON, several times as fast as deepcopy."""
    found: Any = value
    if isinstance(value, dict):
        found = {key: copied(each) for key, each in value.items()}
    elif isinstance(value, list):
        found = [copied(each) for each in value]
    return found  # type: ignore[no-any-return]


def node_id(workflow_name: str, node_name: str) -> str:
    """Argo's id of a node: the workflow's name, followed by a hash except for the root."""
    if node_name == workflow_name:
        return workflow_name
    return f"{workflow_name}-{_fnv1a32(node_name)}"


def pod_name(workflow_name: str, node_name: str, template_name: str) -> str:
    """Argo's name (version 2) of a node's pod, cut to the length of a valid name."""
    if node_name == workflow_name:
        return workflow_name
    longest_prefix = 253 - 10 - 1  # a Kubernetes name without the hash and its dash
    prefix = f"{workflow_name}-{template_name}" if template_name else workflow_name
    return f"{prefix[: longest_prefix - 1]}-{_fnv1a32(node_name)}"


def display_name(node_name: str, boundary_name: str | None) -> str:
    """The part of a node's name that follows its boundary's name."""
    if boundary_name is None:
        return node_name
    return _SEPARATOR.sub("", node_name.removeprefix(boundary_name))


def _fnv1a32(text: str) -> int:
    """The 32-bit FNV-1a hash of `text` (http://www.isthe.com/chongo/tech/comp/fnv/)."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def rfc3339(moment: float) -> str:
    """A time in seconds since the epoch as Kubernetes writes it: UTC, whole seconds."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_rfc3339(text: str) -> float:
    """The seconds since the epoch of a Kubernetes time."""
    return datetime.fromisoformat(text).timestamp()
