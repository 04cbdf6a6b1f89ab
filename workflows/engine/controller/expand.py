"""The executions of a step or task: one, or one for each item of its loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.expr import evaluate
from argotune.workflows.engine.language.govalues import any_string, go_string
from argotune.workflows.engine.language.loops import is_loop, loop_items
from argotune.workflows.engine.language.substitute import Scope, substitute, substitute_text
from argotune.workflows.engine.language.when import should_execute
from argotune.workflows.engine.model import JsonObject, Phase
from argotune.workflows.engine.state.run_state import Caller

# Outputs of other steps must have a value by now; other tags may stay as they are.
_STRICT = ("tasks", "steps")
EMPTY_LOOP = "Skipped, empty params"


@dataclass(frozen=True, slots=True)
class Turn:
    """One execution of a step or task."""

    name: str
    caller: Caller
    arguments: list[JsonObject]
    item: Mapping[str, str]
    """`{{item}}` and its parts; empty outside a loop."""
    skipped_because: str = ""
    """Argo's message of a turn that `when` skips; empty for a turn that runs."""


def turns(step: JsonObject, kind: str, scope: Scope) -> list[Turn]:
    """The executions of a step or task; none if its loop has no items.

    `when` is evaluated first, because a step that is skipped needs no arguments. Raises
    ExpressionError and UnresolvedError.
    """
    if not is_loop(step):
        return [_turn(step, kind, step["name"], scope, {})]
    try:
        items = loop_items(step, scope, _STRICT)
    except ExpressionError:
        if _holds(step, scope)[0]:
            raise
        return []
    return [_turn(step, kind, item.name, scope, item.variables) for item in items]


def _turn(step: JsonObject, kind: str, name: str, scope: Scope, item: Mapping[str, str]) -> Turn:
    inner = scope.merged(item) if item else scope
    holds, when = _holds(step, inner)
    caller = Caller.of({**step, "name": name}, kind)
    if not holds:
        return Turn(name, caller, [], item, f"when '{when}' evaluated false")
    parameters = (step.get("arguments") or {}).get("parameters") or []
    template_ref = substitute(caller.template_ref, inner) if caller.template_ref else None
    caller = Caller(
        name=name,
        template_name=substitute_text(caller.template_name, inner),
        template_ref=template_ref,
        inline=caller.inline,
        kind=kind,
    )
    return Turn(name, caller, substitute(parameters, inner, _STRICT), item)


def _holds(step: JsonObject, scope: Scope) -> tuple[bool, str]:
    when = substitute_text(any_string(step.get("when") or ""), scope, _STRICT)
    return should_execute(when), when


def continues_on(step: JsonObject, phase: Phase) -> bool:
    """Whether the step's continueOn accepts this phase."""
    forgiven = step.get("continueOn") or {}
    return bool(
        (phase is Phase.FAILED and forgiven.get("failed"))
        or (phase is Phase.ERROR and forgiven.get("error"))
    )


def output_parameters(template: JsonObject, scope: Scope) -> JsonObject | None:
    """The outputs of a DAG or Steps template, from those of its tasks; None if it declares none."""
    declared = (template.get("outputs") or {}).get("parameters") or []
    if not declared:
        return None
    return {"parameters": [_output(parameter, scope) for parameter in declared]}


def _output(parameter: JsonObject, scope: Scope) -> JsonObject:
    source: JsonObject = parameter.get("valueFrom") or {}
    kept = {key: value for key, value in parameter.items() if key not in ("valueFrom", "default")}
    try:
        value = _source_value(source, scope)
    except ExpressionError:
        if source.get("default") is None:
            raise
        value = any_string(source["default"])
    return {**kept, "value": value}


def _source_value(source: JsonObject, scope: Scope) -> str:
    if source.get("expression"):
        expression = substitute_text(source["expression"], scope)
        return go_string(evaluate(expression, scope.environment()))
    name = str(source.get("parameter") or "").strip()
    name = name.removeprefix("{{").removesuffix("}}").strip()
    if name.startswith("="):
        return go_string(evaluate(name[1:], scope.environment()))
    name = substitute_text(name, scope)
    if name not in scope:
        raise ExpressionError(f'Unable to resolve: "{name}"')
    return scope[name]
