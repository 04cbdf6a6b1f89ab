"""Templates of kind suspend: they wait for a time or a person, who may supply their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from argotune.workflows.engine.controller.context import RunContext
from argotune.workflows.engine.language.govalues import any_string, parse_duration_seconds
from argotune.workflows.engine.language.substitute import substitute
from argotune.workflows.engine.model import JsonObject, Node, NodeType, Phase
from argotune.workflows.engine.state.templates import Prepared


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumption:
    """How suspended nodes go on, as `argo node set` and `argo resume` say it."""

    node: str = ""
    """Display name of the node that is meant; empty: every suspended one."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Values of its supplied outputs; an output that is not named takes its default."""
    message: str = ""
    """Message of the node; empty: none."""


def advance(run: RunContext, node: Node, prepared: Prepared) -> None:
    """Begin the wait, or end it when its time is over; then its outputs take their defaults."""
    if node.phase is Phase.PENDING:
        node.outputs = _supplied_outputs(run, prepared)
        run.state.mark(node, Phase.RUNNING)
    duration = (prepared.settings.get("suspend") or {}).get("duration")
    if not duration:
        return
    until = node.started_at + parse_duration_seconds(duration)
    if run.state.now() < until:
        run.wake_at(until)
        return
    if (missing := _supply(node, {})) is None:
        run.state.mark(node, Phase.SUCCEEDED)
    else:
        run.state.mark(node, Phase.ERROR, missing)


def resume(run: RunContext, how: Resumption) -> None:
    """End the suspensions that are meant, and the wait of a run that began suspended.

    A node with an output that has neither a value nor a default waits on, and says so.
    """
    run.suspended = run.suspended and bool(how.node)
    for node in run.state.nodes.values():
        is_meant = how.node in ("", node.display_name)
        if node.type is not NodeType.SUSPEND or node.phase is not Phase.RUNNING or not is_meant:
            continue
        if (missing := _supply(node, how.outputs)) is None:
            run.state.mark(node, Phase.SUCCEEDED, how.message)
        else:
            run.state.mark(node, Phase.RUNNING, missing)


def _supplied_outputs(run: RunContext, prepared: Prepared) -> JsonObject | None:
    """The outputs that wait for a value; an input's default stands in for a missing one of theirs.

    Argo does so since 4.0.
    """
    scope = run.scope(prepared.variables)
    outputs = (prepared.template.get("outputs") or {}).get("parameters") or []
    inputs = (prepared.template.get("inputs") or {}).get("parameters") or []
    defaults = {each["name"]: each["default"] for each in inputs if each.get("default") is not None}
    found: list[JsonObject] = substitute(outputs, scope)
    for parameter in found:
        if parameter["name"] in defaults:
            default = substitute(defaults[parameter["name"]], scope)
            parameter["valueFrom"] = {"default": default, **parameter["valueFrom"]}
    return {"parameters": found} if found else None


def _supply(node: Node, values: Mapping[str, str]) -> str | None:
    """Give the outputs their values; returns Argo's message about one that has none."""
    supplied = []
    for parameter in node.output_parameters:
        name, source = parameter["name"], parameter.get("valueFrom") or {}
        value = values.get(name, parameter.get("value", source.get("default")))
        if value is None:
            return (
                f"raw output parameter '{name}' has not been set and does not have a default value"
            )
        kept = {key: item for key, item in parameter.items() if key != "valueFrom"}
        supplied.append({**kept, "value": any_string(value)})
    if supplied:
        node.outputs = {"parameters": supplied}
    return None
