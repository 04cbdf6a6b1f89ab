"""Templates of kind dag."""

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
from argotune.workflows.engine.language import depends
from argotune.workflows.engine.language.loops import is_loop
from argotune.workflows.engine.language.substitute import Scope, substitute_text
from argotune.workflows.engine.model import JsonObject, Node, NodeType, Phase
from argotune.workflows.engine.state.run_state import Caller
from argotune.workflows.engine.state.templates import Place, Prepared, TemplateCall
from argotune.workflows.engine.state.variables import loop_variables, node_variables


def advance(executor: TemplateExecutor, node: Node, prepared: Prepared, on_exit: bool) -> None:
    """Execute the tasks whose turn it is, and end the DAG's node when its targets have ended."""
    _Dag(executor, node, prepared, on_exit).advance()


class _Dag:
    def __init__(
        self, executor: TemplateExecutor, node: Node, prepared: Prepared, on_exit: bool
    ) -> None:
        self._executor = executor
        self._run = executor.run
        self._state = executor.run.state
        self._node = node
        self._prepared = prepared
        self._on_exit = on_exit
        self._tasks = {task["name"]: task for task in prepared.tasks}
        self._targets = self._target_names()

    def advance(self) -> None:
        for name in self._in_order():
            self._task(self._tasks[name])
        hooks = [self._hook(self._tasks[name]) for name in self._targets]
        stopped = bool(self._run.shutdown) and not self._on_exit
        if stopped and (not all(hooks) or self._run.started_pods):
            return
        phase = Phase.FAILED if stopped else self._phase()
        if not phase.is_fulfilled:
            return
        if not phase.is_failed:
            self._node.outputs = output_parameters(self._prepared.template, self._whole_scope())
            self._state.add_global_outputs(self._node.outputs)
        self._node.outbound_nodes = [
            last.id
            for name in self._targets
            if (target := self._task_node(name)) is not None
            for last in self._state.outbound(target)
        ]
        self._state.mark(self._node, phase)

    def _target_names(self) -> list[str]:
        target = self._prepared.template["dag"].get("target")
        if target:
            scope = self._run.scope(self._prepared.variables)
            return substitute_text(target, scope).split()
        needed = {name for task in self._tasks.values() for name in self._dependencies(task).names}
        return sorted(self._tasks.keys() - needed)

    def _dependencies(self, task: JsonObject) -> depends.Dependencies:
        return self._prepared.dependencies(task)

    def _in_order(self) -> list[str]:
        """The targets and the tasks that they need, each after its dependencies."""
        order: dict[str, None] = {}
        waiting = [(name, False) for name in reversed(self._targets)]
        while waiting:
            name, is_ready = waiting.pop()
            if name in order:
                continue
            if is_ready:
                order[name] = None
                continue
            waiting.append((name, True))
            needed = self._dependencies(self._tasks[name]).names
            waiting.extend((other, False) for other in reversed(needed))
        return list(order)

    def _task_node(self, name: str) -> Node | None:
        return self._state.get(f"{self._node.name}.{name}")

    def _task(self, task: JsonObject) -> None:
        node = self._task_node(task["name"])
        if node is not None and node.phase.is_fulfilled:
            self._hook(task)
            return
        if node is None and not self._is_due(task):
            return
        try:
            self._execute(task, self._turns(task))
        except (ExpressionError, UnresolvedError) as error:
            self._skip(task, Phase.ERROR, str(error))

    def _turns(self, task: JsonObject) -> list[Turn]:
        key = (self._node.id, task["name"])
        if key not in self._run.turns:
            self._run.turns[key] = turns(task, "tasks", self._scope(task))
        return self._run.turns[key]

    def _is_due(self, task: JsonObject) -> bool:
        """Whether the dependencies have ended and are met; omit the task if they are not met."""
        needed = self._dependencies(task)
        results: dict[str, dict[str, bool]] = {}
        for name in needed.names:
            node = self._task_node(name)
            if node is None or not self._is_done(node):
                return False
            phases = [child.phase for child in self._state.children(node)]
            results[name] = depends.results(node.phase, node.type, phases)
        try:
            is_met = needed.met(results)
        except ExpressionError as error:
            self._skip(task, Phase.ERROR, str(error))
            return False
        if not is_met:
            self._skip(task, Phase.OMITTED, "omitted: depends condition not met")
        return is_met

    def _is_done(self, node: Node) -> bool:
        """Whether a task and its hooks have ended."""
        return node.phase.is_fulfilled and all(
            child.phase.is_fulfilled
            for child in self._state.children(node)
            if child.hooked and not child.retried
        )

    def _skip(self, task: JsonObject, phase: Phase, message: str, name: str = "") -> None:
        """Add the node of a task that does not run, or mark the node that exists."""
        node_name = f"{self._node.name}.{name or task['name']}"
        node = self._state.get(node_name)
        if node is not None:
            self._state.mark(node, phase, message)
            return
        node = self._state.add(
            node_name,
            NodeType.SKIPPED,
            phase,
            caller=Caller.of(task, "tasks"),
            scope=self._prepared.base.scope,
            boundary_id=self._node.id,
            message=message,
        )
        self._connect(task, node, None)

    def _connect(self, task: JsonObject, node: Node, group: Node | None) -> None:
        """Link the node below its loop, or else its dependencies, or else the DAG."""
        needed = self._dependencies(task).names
        if group is not None:
            self._state.link(group, node)
        elif not needed:
            self._state.link(self._node, node)
        for name in needed if group is None else ():
            if (before := self._task_node(name)) is not None:
                for last in self._state.outbound(before):
                    self._state.link(last, node)

    def _execute(self, task: JsonObject, expanded: list[Turn]) -> None:
        group: Node | None = None
        if is_loop(task):
            if not expanded:
                self._skip(task, Phase.SKIPPED, EMPTY_LOOP)
                return
            group = self._group(task)
        for turn in expanded:
            if not self._execute_turn(task, turn, group):
                return
        if group is not None:
            self._end_group(group, expanded)

    def _group(self, task: JsonObject) -> Node:
        node = self._task_node(task["name"])
        if node is None:
            node = self._state.add(
                f"{self._node.name}.{task['name']}",
                NodeType.TASK_GROUP,
                Phase.RUNNING,
                caller=Caller.of(task, "tasks"),
                scope=self._prepared.base.scope,
                boundary_id=self._node.id,
            )
            self._connect(task, node, None)
        return node

    def _end_group(self, group: Node, expanded: list[Turn]) -> None:
        phase = Phase.SUCCEEDED
        for turn in expanded:
            node = self._task_node(turn.name)
            if node is None or not node.phase.is_fulfilled:
                return
            if node.phase.is_failed:
                phase = node.phase
        self._state.mark(group, phase)

    def _execute_turn(self, task: JsonObject, turn: Turn, group: Node | None) -> bool:
        """Execute one turn of a task; False if the turns after it must wait."""
        name = f"{self._node.name}.{turn.name}"
        if turn.skipped_because:
            if self._state.get(name) is None:
                node = self._state.add(
                    name,
                    NodeType.SKIPPED,
                    Phase.SKIPPED,
                    caller=turn.caller,
                    scope=self._prepared.base.scope,
                    boundary_id=self._node.id,
                    message=turn.skipped_because,
                )
                self._connect(task, node, group)
            return True
        place = Place(boundary_id=self._node.id, step_name=task["name"], on_exit=self._on_exit)
        call = TemplateCall(name, turn.caller, self._prepared.base, turn.arguments, place)
        try:
            started = self._executor.execute(call)
        except TemplateError as error:
            started = self._state.nodes[self._state.id_of(name)]
            self._state.mark(started, Phase.ERROR, f"task '{name}' errored: {error}")
        if started is None:
            return False
        self._connect(task, started, group)
        return self._hook(task, started)

    def _hook(self, task: JsonObject, node: Node | None = None) -> bool:
        """Run the task's exit hook, if it has one; return whether task and hook have ended."""
        if not (task.get("onExit") or task.get("hooks")):
            return True
        node = node or self._task_node(task["name"])
        if node is None:
            return True
        try:
            return run_step_hook(
                self._executor,
                task,
                node,
                self._prepared.base,
                f"tasks.{task['name']}",
                self._scope(task),
            )
        except TemplateError as error:
            self._state.mark(node, Phase.ERROR, str(error))
            return True

    def _scope(self, task: JsonObject) -> Scope:
        """What a task may refer to: the DAG's inputs and the tasks before it."""
        known: dict[str, str] = dict(self._prepared.variables)
        waiting, seen = list(self._dependencies(task).names), set[str]()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting.extend(self._dependencies(self._tasks[name]).names)
                known.update(self._outputs_of(name))
        return self._run.scope(known)

    def _whole_scope(self) -> Scope:
        known: dict[str, str] = dict(self._prepared.variables)
        for name in self._tasks:
            known.update(self._outputs_of(name))
        return self._run.scope(known)

    def _outputs_of(self, name: str) -> dict[str, str]:
        node = self._task_node(name)
        if node is None:
            return {}
        prefix = f"tasks.{name}"
        found = node_variables(prefix, node, self._state)
        if node.type is NodeType.TASK_GROUP:
            found.update(loop_variables(prefix, self._state.children(node)))
        return found

    def _phase(self) -> Phase:
        """The DAG's phase, from its targets; an omitted one has the phase of its predecessor."""
        phases: dict[str, Phase | None] = {
            self._state.id_of(f"{self._node.name}.{name}"): None for name in self._targets
        }
        waiting = [(child, Phase.SUCCEEDED) for child in self._node.children]
        seen: set[tuple[str, Phase]] = set()
        while waiting:
            entry = waiting.pop(0)
            if entry in seen:
                continue
            seen.add(entry)
            node_id, branch = entry
            node = self._state.nodes.get(node_id)
            if node is None or not node.phase.is_fulfilled:
                return Phase.RUNNING
            if node.phase.is_completed:
                branch = node.phase
            known = phases.get(node_id, Phase.FAILED)
            if node_id in phases and (known is None or not known.is_failed):
                phases[node_id] = branch
            waiting.extend((child, branch) for child in self._below(node))
        return self._judge(phases)

    def _below(self, node: Node) -> list[str]:
        if node.type is not NodeType.RETRY:
            return node.children
        found: list[str] = []
        for child in reversed(self._state.children(node)):
            found.extend(child.children if child.retried else [child.id])
        return found

    def _judge(self, phases: dict[str, Phase | None]) -> Phase:
        fail_fast = self._prepared.template["dag"].get("failFast") is not False
        result = Phase.SUCCEEDED
        for name in self._targets:
            phase = phases[self._state.id_of(f"{self._node.name}.{name}")]
            if phase is None:
                result = Phase.RUNNING
                if not fail_fast:
                    return result
            elif phase.is_failed and not continues_on(self._tasks[name], phase):
                result = phase
                if fail_fast:
                    return result
        return result
