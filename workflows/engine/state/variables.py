"""The variables in `{{...}}`: the workflow's, and those of steps and tasks that have ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.govalues import any_string, go_json
from argotune.workflows.engine.language.loops import loop_index
from argotune.workflows.engine.language.substitute import Scope, substitute_text
from argotune.workflows.engine.model import (
    SCHEDULED_TIME_ANNOTATION,
    JsonObject,
    Node,
    Phase,
    from_rfc3339,
    pod_name,
    rfc3339,
)
from argotune.workflows.engine.state.run_state import RunState

# The letters that {{workflow.creationTimestamp.X}} knows (util/strftime).
_TIME_LETTERS = "BbmAadHIMSYypZz"


def workflow_variables(workflow: JsonObject, spec: JsonObject) -> Scope:
    """The `workflow.*` variables that have a value when a run starts."""
    metadata = workflow["metadata"]
    labels: dict[str, str] = metadata.get("labels") or {}
    annotations: dict[str, str] = metadata.get("annotations") or {}
    scope = Scope(
        {
            "workflow.name": metadata["name"],
            "workflow.namespace": metadata["namespace"],
            "workflow.uid": metadata["uid"],
            "workflow.mainEntrypoint": spec.get("entrypoint") or "",
            "workflow.serviceAccountName": spec.get("serviceAccountName") or "",
            **_creation_time(metadata["creationTimestamp"]),
        }
    )
    if SCHEDULED_TIME_ANNOTATION in annotations:
        scope["workflow.scheduledTime"] = annotations[SCHEDULED_TIME_ANNOTATION]
    if spec.get("priority") is not None:
        scope["workflow.priority"] = str(spec["priority"])
    scope.update(_entries("workflow.labels", labels))
    scope.update(_entries("workflow.annotations", annotations))
    parameters = (spec.get("arguments") or {}).get("parameters") or []
    for parameter in parameters:
        if "value" in parameter:
            scope[f"workflow.parameters.{parameter['name']}"] = any_string(parameter["value"])
    if parameters:
        scope["workflow.parameters"] = _parameters_json(parameters)
        scope["workflow.parameters.json"] = scope["workflow.parameters"]
    return scope


def runtime_variables(state: RunState, phase: Phase) -> dict[str, str]:
    """The `workflow.*` variables that change: status, duration, failures, global outputs."""
    end = state.now() if state.finished_at is None else state.finished_at
    duration = 0.0 if state.started_at is None else end - state.started_at
    failures = [
        {
            "displayName": node.display_name,
            "message": node.message,
            "templateName": template_of(node),
            "phase": str(node.phase),
            "podName": pod_name(state.workflow_name, node.name, template_of(node)),
            "finishedAt": None if node.finished_at is None else rfc3339(node.finished_at),
        }
        for node in state.nodes.values()
        if node.phase.is_failed
    ]
    return {
        "workflow.status": str(phase),
        "workflow.duration": f"{duration:.6f}",
        # Argo quotes this JSON, so that it can stand in JSON itself.
        "workflow.failures": json.dumps(go_json(failures or None), ensure_ascii=False),
        **{
            f"workflow.outputs.parameters.{output['name']}": output["value"]
            for output in state.outputs
        },
    }


def template_of(node: Node) -> str:
    """The name of the template that a node runs."""
    reference = node.template_ref or {}
    return node.template_name or str(reference.get("template", ""))


def _creation_time(text: str) -> dict[str, str]:
    moment = datetime.fromtimestamp(from_rfc3339(text), UTC)
    name = "workflow.creationTimestamp"
    return {
        name: text,
        f"{name}.s": str(int(moment.timestamp())),
        f"{name}.RFC3339": text,
        f"{name}.L": f".{moment.microsecond // 1000:03d}",
        **{f"{name}.{letter}": moment.strftime(f"%{letter}") for letter in _TIME_LETTERS},
    }


def _entries(prefix: str, values: Mapping[str, str]) -> dict[str, str]:
    whole = go_json(dict(values) or None)
    return {
        prefix: whole,
        f"{prefix}.json": whole,
        **{f"{prefix}.{name}": any_string(value) for name, value in values.items()},
    }


def _parameters_json(parameters: Iterable[JsonObject]) -> str:
    """The value of `workflow.parameters`, in which Argo lists parameters with values as strings."""
    return go_json(
        [
            {
                key: any_string(value) if key in ("value", "default") else value
                for key, value in parameter.items()
            }
            for parameter in parameters
        ]
    )


def resolve_parameter_values(
    spec: JsonObject,
    given: Mapping[str, str],
    known: Scope,
    config_maps: Mapping[str, Mapping[str, str]],
) -> None:
    """Fill in the workflow's parameters: `given` values unchanged, the file's with tags replaced.

    A value of the file may refer to `workflow.name` and other parameters. A parameter whose
    ConfigMap lacks the key stays without a value.
    """
    arguments = spec.setdefault("arguments", {}) or {}
    spec["arguments"] = arguments
    parameters: list[JsonObject] = arguments.setdefault("parameters", []) or []
    arguments["parameters"] = parameters
    raw = {
        f"workflow.parameters.{parameter['name']}": any_string(parameter["value"])
        for parameter in parameters
        if parameter.get("value") is not None
    }
    scope = known.merged(raw, {f"workflow.parameters.{k}": v for k, v in given.items()})
    for parameter in parameters:
        if parameter["name"] in given:
            parameter.pop("valueFrom", None)
            parameter["value"] = given[parameter["name"]]
        elif parameter.get("value") is not None:
            parameter["value"] = substitute_text(any_string(parameter["value"]), scope)
        elif (value := _config_value(parameter.get("valueFrom") or {}, config_maps)) is not None:
            del parameter["valueFrom"]
            parameter["value"] = value
    declared = {parameter["name"] for parameter in parameters}
    parameters.extend(
        {"name": name, "value": value} for name, value in given.items() if name not in declared
    )


def _config_value(source: JsonObject, config_maps: Mapping[str, Mapping[str, str]]) -> str | None:
    reference = source.get("configMapKeyRef") or {}
    value = config_maps.get(reference.get("name", ""), {}).get(reference.get("key", ""))
    if value is None and source.get("default") is not None:
        return any_string(source["default"])
    return value


def node_variables(prefix: str, node: Node, state: RunState) -> dict[str, str]:
    """`PREFIX.status`, `PREFIX.outputs.parameters.x` and the other variables of one node."""
    source = state.result_node(node)
    outputs = source.outputs or {}
    variables = {
        f"{prefix}.id": source.id,
        f"{prefix}.status": str(source.phase),
        f"{prefix}.startedAt": rfc3339(source.started_at),
    }
    if source.finished_at is not None:
        variables[f"{prefix}.finishedAt"] = rfc3339(source.finished_at)
    if source.host_node_name:
        variables[f"{prefix}.hostNodeName"] = source.host_node_name
    if "result" in outputs:
        variables[f"{prefix}.outputs.result"] = outputs["result"]
    if "exitCode" in outputs:
        variables[f"{prefix}.exitCode"] = outputs["exitCode"]
    for parameter in source.output_parameters:
        if "value" in parameter:
            variables[f"{prefix}.outputs.parameters.{parameter['name']}"] = parameter["value"]
    return variables


def loop_variables(prefix: str, nodes: Iterable[Node]) -> dict[str, str]:
    """The outputs of a loop's succeeded turns as JSON lists, in the order of its items.

    Raises ExpressionError if a result is not JSON.
    """
    turns = sorted(
        (node for node in nodes if not node.hooked and not node.retried),
        key=lambda node: loop_index(node.name),
    )
    succeeded = [node for node in turns if node.phase is Phase.SUCCEEDED and node.outputs]
    texts = [(node.outputs or {}).get("result") for node in succeeded]
    results = [_json(prefix, text) for text in texts if text is not None]
    maps = [
        {parameter["name"]: parameter["value"] for parameter in node.output_parameters}
        for node in succeeded
        if node.output_parameters
    ]
    by_name: dict[str, list[str]] = {}
    for values in maps:
        for name, value in values.items():
            by_name.setdefault(name, []).append(value)
    return {
        f"{prefix}.outputs.result": go_json(results),
        f"{prefix}.outputs.parameters": go_json(maps),
        **{
            f"{prefix}.outputs.parameters.{name}": _json_list(values)
            for name, values in by_name.items()
        },
    }


def _json(prefix: str, text: str) -> Any:
    """The value of a result; Argo lists results as JSON values, so that other text is an error."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        raise ExpressionError(
            f"{prefix}.outputs.result cannot be made a list: {text!r} is not JSON"
        ) from None


def _json_list(values: list[str]) -> str:
    """A JSON list of the values, which are parsed only if all of them are JSON lists or maps."""
    try:
        parsed = [json.loads(value) for value in values]
    except (json.JSONDecodeError, RecursionError):
        return go_json(values)
    return go_json(parsed if all(isinstance(v, list | dict) for v in parsed) else values)
