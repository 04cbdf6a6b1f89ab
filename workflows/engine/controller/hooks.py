"""Runs the exit hooks of steps, tasks and the workflow."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from argotune.workflows.engine.errors import ExpressionError, UnresolvedError
from argotune.workflows.engine.language.expr import evaluate_bool
from argotune.workflows.engine.language.substitute import substitute
from argotune.workflows.engine.model import JsonObject, Node, Phase
from argotune.workflows.engine.state.documents import TemplateBase
from argotune.workflows.engine.state.place import Execution, Place, TemplateError
from argotune.workflows.engine.state.run_state import Caller

if TYPE_CHECKING:  # the operator runs hooks, which call the operator
    from argotune.workflows.engine.controller.operate import Operator


def exit_hook(step: JsonObject, arguments: JsonObject | None) -> JsonObject | None:
    """The exit hook of a step, a task or the spec; ``onExit`` gets the workflow's arguments."""
    if step.get("onExit"):
        return {"template": step["onExit"], "arguments": arguments or {}}
    hook: JsonObject | None = (step.get("hooks") or {}).get("exit")
    return hook


def run_workflow_hook(operator: "Operator", phase: Phase) -> Node | None:
    """Executes the workflow's exit handler; None where there is none."""
    hook = exit_hook(operator.spec, operator.spec.get("arguments"))
    if hook is None or operator.shutdown == "Terminate":
        return None
    operator.ending = phase
    call = Execution(
        f"{operator.state.workflow_name}.onExit",
        Caller.of(hook, ""),
        operator.base,
        _arguments(operator, hook, {}),
        Place(hooked=True, on_exit=True),
    )
    return operator.execute(call)


def run_step_hook(
    operator: "Operator",
    step: JsonObject,
    node: Node,
    base: TemplateBase,
    prefix: str,
    known: Mapping[str, str],
) -> bool:
    """Runs a step's exit hook once the step completed; False while that is not done.

    The hook knows what the step knew (``known``) and, under ``prefix``, what came of it.
    """
    hook = exit_hook(step, operator.spec.get("arguments"))
    if hook is None or not node.phase.is_completed or operator.shutdown == "Terminate":
        return True
    own = {
        f"{prefix}.outputs.parameters.{parameter['name']}": parameter.get("value", "")
        for parameter in operator.state.result_node(node).output_parameters
    }
    variables = {**known, **own, f"{prefix}.status": str(node.phase)}
    try:
        expression = hook.get("expression")
        if expression and not evaluate_bool(expression, operator.scope(variables).environment()):
            return True
        handler = operator.execute(
            Execution(
                f"{node.name}.onExit",
                Caller.of(hook, ""),
                base,
                _arguments(operator, hook, variables),
                Place(boundary_id=node.boundary_id, hooked=True, on_exit=True),
            )
        )
    except (ExpressionError, TemplateError, UnresolvedError) as error:
        raise TemplateError(f"{node.name}.onExit: {error}") from error
    if handler is None:
        return False
    operator.state.link(node, handler)
    return handler.phase.is_fulfilled


def _arguments(
    operator: "Operator", hook: JsonObject, known: Mapping[str, str]
) -> list[JsonObject]:
    parameters = (hook.get("arguments") or {}).get("parameters") or []
    found: list[JsonObject] = substitute(parameters, operator.scope(known))
    return found
