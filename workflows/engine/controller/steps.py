"""Templates of kind steps: groups run one after the other, the steps of a group together."""

from __future__ import annotations

from argotune.workflows.engine.controller.context import TemplateExecutor
from argotune.workflows.engine.controller.expand import (
    EMPTY_LOOP,
    Turn,
    continues_on,
    output_parameters,
    turns,
)
from argotune.workflows.engine.controller.hooks import run_step_hook
from argotune.workflows.engine.errors import ExpressionError, TemplateError, UnresolvedError
from argotune.workflows.engine.model import JsonObject, Node, NodeType, Phase
from argotune.workflows.engine.state.run_state import Caller
from argotune.workflows.engine.state.templates import Place, Prepared, TemplateCall
from argotune.workflows.engine.state.variables import loop_variables, node_variables


def advance(executor: TemplateExecutor, node: Node, prepared: Prepared, on_exit: bool) -> None:
    """Execute the group whose turn it is, and end the node after the last group or a failed one."""
    _Steps(executor, node, prepared, on_exit).advance()


class _Steps:
    def __init__(
        self, executor: TemplateExecutor, node: Node, prepared: Prepared, on_exit: bool
    ) -> None:
        self._executor = executor
        self._run = executor.run
        self._state = executor.run.state
        self._node = node
        self._prepared = prepared
        self._on_exit = on_exit
        self._known: dict[str, str] = dict(prepared.variables)

    def advance(self) -> None:
        groups: list[list[JsonObject]] = self._prepared.template["steps"]
        for index, steps in enumerate(groups):
            group = self._group(index)
            self._execute_group(group, steps)
            if not group.phase.is_fulfilled:
                return
            if group.phase.is_failed:
                self._end(group, Phase.FAILED, group.message)
                return
            for step in steps:
                self._known.update(self._outputs_of(group, step))
            last = group
        self._node.outputs = output_parameters(
            self._prepared.template, self._run.scope(self._known)
        )
        self._state.add_global_outputs(self._node.outputs)
        self._end(last, Phase.SUCCEEDED, "")

    def _group(self, index: int) -> Node:
        name = f"{self._node.name}[{index}]"
        group = self._state.get(name)
        if group is not None:
            return group
        group = self._state.add(
            name,
            NodeType.STEP_GROUP,
            Phase.RUNNING,
            caller=Caller(),
            scope=self._prepared.base.scope,
            boundary_id=self._node.id,
        )
        before = self._state.get(f"{self._node.name}[{index - 1}]") if index else self._node
        for parent in self._last_of(before or self._node):
            self._state.link(parent, group)
        return group

    def _last_of(self, before: Node) -> list[Node]:
        """The nodes that the next group is linked below: the ends of the group before it."""
        if before is self._node or not before.children:
            return [before]
        return [
            last for child in self._state.children(before) for last in self._state.outbound(child)
        ]

    def _end(self, last: Node, phase: Phase, message: str) -> None:
        self._node.outbound_nodes = [
            end.id for child in self._state.children(last) for end in self._state.outbound(child)
        ]
        self._state.mark(self._node, phase, message)

    def _execute_group(self, group: Node, steps: list[JsonObject]) -> None:
        if group.phase.is_fulfilled:
            return
        try:
            expanded = [(step, self._turns(step)) for step in steps]
        except (ExpressionError, UnresolvedError) as error:
            self._state.mark(group, Phase.ERROR, str(error))
            return
        by_node: dict[str, tuple[JsonObject, Turn]] = {}
        complete = True
        for step, step_turns in expanded:
            if not step_turns:
                self._skip(group, step["name"], Caller.of(step, "steps"), EMPTY_LOOP)
            for turn in step_turns:
                by_node[f"{group.name}.{turn.name}"] = step, turn
                through = self._execute_turn(group, step, turn)
                if through is None:
                    return
                complete = through and complete
        if complete and self._hooks_are_done(group, by_node):
            self._judge(group, by_node)

    def _turns(self, step: JsonObject) -> list[Turn]:
        key = (self._node.id, step["name"])
        if key not in self._run.turns:
            scope = self._run.scope(self._known)
            self._run.turns[key] = turns(step, "steps", scope)
        return self._run.turns[key]

    def _skip(self, group: Node, name: str, caller: Caller, message: str) -> None:
        if self._state.get(f"{group.name}.{name}") is not None:
            return
        node = self._state.add(
            f"{group.name}.{name}",
            NodeType.SKIPPED,
            Phase.SKIPPED,
            caller=caller,
            scope=self._prepared.base.scope,
            boundary_id=self._node.id,
            message=message,
        )
        self._state.link(group, node)

    def _execute_turn(self, group: Node, step: JsonObject, turn: Turn) -> bool | None:
        """Execute one turn of a step; return whether it has ended, None if it ended the group."""
        if turn.skipped_because:
            self._skip(group, turn.name, turn.caller, turn.skipped_because)
            return True
        name = f"{group.name}.{turn.name}"
        place = Place(boundary_id=self._node.id, step_name=step["name"], on_exit=self._on_exit)
        call = TemplateCall(name, turn.caller, self._prepared.base, turn.arguments, place)
        try:
            node = self._executor.execute(call)
        except TemplateError as error:
            self._state.link(group, self._state.nodes[self._state.id_of(name)])
            message = f"step group deemed errored due to child {name} error: {error}"
            self._state.mark(group, Phase.ERROR, message)
            return None
        if node is None:
            return False
        self._state.link(group, node)
        return node.phase.is_fulfilled

    def _hooks_are_done(self, group: Node, by_node: dict[str, tuple[JsonObject, Turn]]) -> bool:
        complete = True
        for child in self._state.children(group):
            if child.name not in by_node:
                continue
            step, turn = by_node[child.name]
            try:
                done = run_step_hook(
                    self._executor,
                    step,
                    child,
                    self._prepared.base,
                    f"steps.{step['name']}",
                    {**self._known, **turn.item},
                )
            except TemplateError as error:
                self._state.mark(group, Phase.ERROR, str(error))
                return False
            complete = done and complete
        return complete

    def _judge(self, group: Node, by_node: dict[str, tuple[JsonObject, Turn]]) -> None:
        for child in self._state.children(group):
            step = by_node[child.name][0] if child.name in by_node else {}
            if child.phase.is_failed and not continues_on(step, child.phase):
                self._state.mark(group, Phase.FAILED, f"child '{child.id}' failed")
                return
        self._state.mark(group, Phase.SUCCEEDED)

    def _outputs_of(self, group: Node, step: JsonObject) -> dict[str, str]:
        prefix, name = f"steps.{step['name']}", f"{group.name}.{step['name']}"
        node = self._state.get(name)
        if node is not None:
            return node_variables(prefix, node, self._state)
        children = [
            child
            for child in self._state.children(group)
            if child.name.startswith(f"{name}(") and child.type is not NodeType.SKIPPED
        ]
        return loop_variables(prefix, children) if children else {}
