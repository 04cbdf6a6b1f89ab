"""The state of a run: its nodes, and how they are added, marked and linked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from argotune.workflows.engine.model import JsonObject, Node, NodeType, Phase, display_name, node_id


@dataclass(frozen=True, slots=True)
class Caller:
    """The step, task or hook that runs a template."""

    name: str = ""
    template_name: str = ""
    template_ref: JsonObject | None = None
    inline: JsonObject | None = None
    kind: str = ""
    """`steps` or `tasks` if the variable `steps.name` or `tasks.name` is its name; else empty."""

    @classmethod
    def of(cls, step: JsonObject, kind: str) -> Caller:
        """The caller of a step, task or hook."""
        return cls(
            name=step.get("name", ""),
            template_name=step.get("template") or "",
            template_ref=step.get("templateRef"),
            inline=step.get("inline"),
            kind=kind,
        )


@dataclass(slots=True)
class RunState:
    """Everything that changes during a run; `on_change` is called with each changed node."""

    workflow_name: str
    nodes: dict[str, Node] = field(default_factory=dict)
    phase: Phase = Phase.PENDING
    message: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    outputs: list[JsonObject] = field(default_factory=list)
    """Output parameters with a globalName."""
    on_change: Callable[[Node], None] = lambda node: None
    now: Callable[[], float] = time.time
    """The run's time, in seconds since the epoch."""

    def id_of(self, name: str) -> str:
        """The id of the node with this name."""
        return node_id(self.workflow_name, name)

    def get(self, name: str) -> Node | None:
        """The node with this name, or None."""
        return self.nodes.get(self.id_of(name))

    def add(
        self,
        name: str,
        type_: NodeType,
        phase: Phase,
        *,
        caller: Caller,
        scope: str,
        boundary_id: str,
        message: str = "",
        inputs: JsonObject | None = None,
        hooked: bool = False,
        retried: bool = False,
    ) -> Node:
        """Add a node and return it; a node that is added with a final phase ends at its start."""
        boundary = self.nodes.get(boundary_id)
        node = Node(
            id=self.id_of(name),
            name=name,
            display_name=display_name(name, boundary.name if boundary else None),
            type=type_,
            phase=phase,
            started_at=self.now(),
            boundary_id=boundary_id,
            template_name=caller.template_name,
            template_ref=caller.template_ref,
            template_scope=scope,
            message=message,
            inputs=inputs,
            hooked=hooked,
            retried=retried,
        )
        if type_.has_progress:
            node.progress = "0/1"
        if phase.is_fulfilled:
            node.finished_at = node.started_at
        self.nodes[node.id] = node
        self.on_change(node)
        return node

    def mark(self, node: Node, phase: Phase, message: str | None = None) -> None:
        """Set a node's phase, and its message unless it is None."""
        changed = node.phase is not phase or (message is not None and message != node.message)
        node.phase = phase
        if message is not None:
            node.message = message
        if phase.is_fulfilled and node.finished_at is None:
            node.finished_at = self.now()
        if changed:
            self.on_change(node)

    def show_as(self, node: Node, name: str) -> None:
        """Give a node the display name of its template, unless that is empty."""
        if name and node.display_name != name:
            node.display_name = name
            self.on_change(node)

    def link(self, parent: Node, child: Node) -> None:
        """Make `child` a child of `parent`, once."""
        if child.id not in parent.children:
            parent.children.append(child.id)
            self.on_change(parent)

    def children(self, node: Node) -> list[Node]:
        """The children that exist, in order."""
        return [self.nodes[child] for child in node.children if child in self.nodes]

    def attempts(self, retry_node: Node) -> list[Node]:
        """The attempts of a Retry node, without its hooks."""
        return [child for child in self.children(retry_node) if child.retried]

    def result_node(self, node: Node) -> Node:
        """The node with the outputs: a Retry node's last attempt, or else the node itself."""
        attempts = self.attempts(node) if node.type is NodeType.RETRY else []
        return attempts[-1] if attempts else node

    def outbound(self, node: Node) -> list[Node]:
        """The last nodes inside `node`; the nodes that follow it are linked below them."""
        match node.type:
            case NodeType.SKIPPED | NodeType.SUSPEND | NodeType.POD:
                return [node]
            case NodeType.TASK_GROUP if not node.children:
                return [node]
            case NodeType.TASK_GROUP:
                return self._outbound_of(self.children(node))
            case NodeType.RETRY if node.children:
                return [self.nodes[node.children[-1]]]
        return self._outbound_of(self.nodes[child] for child in node.outbound_nodes)

    def _outbound_of(self, nodes: Iterable[Node]) -> list[Node]:
        return [last for node in nodes for last in self.outbound(node)]

    def inside(self, boundary_id: str) -> Iterator[Node]:
        """The nodes directly inside a boundary (a DAG or Steps node)."""
        return (node for node in self.nodes.values() if node.boundary_id == boundary_id)

    def is_exit_handler(self, node: Node) -> bool:
        """Whether the node belongs to an onExit handler, itself or through its boundaries."""
        while not node.name.endswith(".onExit"):
            if not node.boundary_id:
                return ".onExit" in node.name
            node = self.nodes[node.boundary_id]
        return True

    def add_global_outputs(self, outputs: JsonObject | None) -> None:
        """Keep output parameters with a globalName as outputs of the workflow."""
        for parameter in (outputs or {}).get("parameters", []):
            name = parameter.get("globalName")
            if not name or "value" not in parameter:
                continue
            kept: JsonObject = {"name": name, "value": parameter["value"]}
            self.outputs = [other for other in self.outputs if other["name"] != name] + [kept]

    def update_progress(self) -> str:
        """Sum up the progress of all nodes and return the workflow's, as `N/M`."""
        done = total = 0
        for node in self.nodes.values():
            if not node.type.has_progress:
                continue
            finished, planned = parse_progress(node.progress) or (0, 1)
            if node.phase in (Phase.SUCCEEDED, Phase.SKIPPED, Phase.OMITTED):
                finished = planned
            node.progress = f"{finished}/{planned}"
            done, total = done + finished, total + planned
        for node in self.nodes.values():
            if not node.type.has_progress:
                finished, planned = self._sum_below(node)
                if planned:
                    node.progress = f"{finished}/{planned}"
        return f"{done}/{total}"

    def _sum_below(self, node: Node) -> tuple[int, int]:
        done = total = 0
        seen: set[str] = set()
        waiting = list(node.children)
        while waiting:
            child_id = waiting.pop()
            if child_id in seen or child_id not in self.nodes:
                continue
            seen.add(child_id)
            child = self.nodes[child_id]
            waiting.extend(child.children)
            if child.type.has_progress:
                finished, planned = parse_progress(child.progress) or (0, 1)
                done, total = done + finished, total + planned
        return done, total


def parse_progress(text: str) -> tuple[int, int] | None:
    """`N/M` as two numbers; None unless 0 <= N <= M and M > 0."""
    done, slash, total = text.strip().partition("/")
    if not slash or not done.isdigit() or not total.isdigit():
        return None
    if int(total) == 0 or int(done) > int(total):
        return None
    return int(done), int(total)
