"""The exit hooks of steps, tasks and the workflow."""

from __future__ import annotations

from collections.abc import Mapping

from argotune.workflows.engine.controller.context import RunContext, TemplateExecutor
from argotune.workflows.engine.errors import ExpressionError, TemplateError, UnresolvedError
from argotune.workflows.engine.language.expr import evaluate_bool
from argotune.workflows.engine.language.substitute import substitute
from argotune.workflows.engine.model import JsonObject, Node, Phase
from argotune.workflows.engine.state.documents import TemplateBase
from argotune.workflows.engine.state.run_state import Caller
from argotune.workflows.engine.state.templates import Place, TemplateCall


def exit_hook(step: JsonObject, arguments: JsonObject | None) -> JsonObject | None:
    """The exit hook of a step, task or spec, or None; `onExit` gets the workflow's arguments."""
    if step.get("onExit"):
        return {"template": step["onExit"], "arguments": arguments or {}}
    hook: JsonObject | None = (step.get("hooks") or {}).get("exit")
    return hook


def run_workflow_hook(executor: TemplateExecutor, phase: Phase) -> Node | None:
    """Execute the workflow's exit handler and return its node; None if there is none.

    Raises TemplateError.
    """
    run = executor.run
    hook = exit_hook(run.spec, run.spec.get("arguments"))
    if hook is None or run.shutdown == "Terminate":
        return None
    run.ending = phase
    try:
        arguments = _arguments(run, hook, {})
    except (ExpressionError, UnresolvedError) as error:
        raise TemplateError(str(error)) from error
    call = TemplateCall(
        f"{run.state.workflow_name}.onExit",
        Caller.of(hook, ""),
        run.base,
        arguments,
        Place(hooked=True, on_exit=True),
    )
    return executor.execute(call)


def run_step_hook(
    executor: TemplateExecutor,
    step: JsonObject,
    node: Node,
    base: TemplateBase,
    prefix: str,
    known: Mapping[str, str],
) -> bool:
    """Run a step's exit hook once the step has completed; return False until the hook has ended.

    The hook has the variables of the step (`known`) and, under `prefix`, the step's status; its
    arguments have the step's outputs too, and its expression does not, as on Argo. Raises
    TemplateError.
    """
    run = executor.run
    hook = exit_hook(step, run.spec.get("arguments"))
    if hook is None or not node.phase.is_completed or run.shutdown == "Terminate":
        return True
    own = {
        f"{prefix}.outputs.parameters.{parameter['name']}": parameter.get("value", "")
        for parameter in run.state.result_node(node).output_parameters
    }
    variables = {**known, f"{prefix}.status": str(node.phase)}
    try:
        expression = hook.get("expression")
        if expression and not evaluate_bool(expression, run.scope(variables).environment()):
            return True
        handler = executor.execute(
            TemplateCall(
                f"{node.name}.onExit",
                Caller.of(hook, ""),
                base,
                _arguments(run, hook, {**variables, **own}),
                Place(boundary_id=node.boundary_id, hooked=True, on_exit=True),
            )
        )
    except (ExpressionError, TemplateError, UnresolvedError) as error:
        raise TemplateError(f"{node.name}.onExit: {error}") from error
    if handler is None:
        return False
    run.state.link(node, handler)
    return handler.phase.is_fulfilled


def _arguments(run: RunContext, hook: JsonObject, known: Mapping[str, str]) -> list[JsonObject]:
    parameters = (hook.get("arguments") or {}).get("parameters") or []
    found: list[JsonObject] = substitute(parameters, run.scope(known))
    return found
