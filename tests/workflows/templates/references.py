"""Argo's `{{...}}` tags: which ones a rendered file uses, and which ones something defines."""

from __future__ import annotations

import json
import re
from typing import Any

from argotune.workflows.workspace.manifests import ALL_SETTINGS, derived_values, install_defaults

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_INSTALL_TAG = re.compile(r"\{\{(install\..*?)\}\}")
_PARAMETER = re.compile(r"(workflow|inputs)\.parameters\['([^']+)'\]")
_RETRIED = {"retries", "lastRetry.exitCode", "lastRetry.status", "lastRetry.message"}
_WORKFLOW = {
    "workflow.name",
    "workflow.namespace",
    "workflow.uid",
    "workflow.creationTimestamp",
    "workflow.status",
}


def undefined_references(spec: dict[str, Any]) -> list[str]:
    """The tags of a WorkflowSpec that nothing defines, each as `where: tag`."""
    parameters = spec.get("arguments", {}).get("parameters", [])
    known = _WORKFLOW | {f"workflow.parameters.{item['name']}" for item in parameters}
    decided = install_defaults()
    known |= {f"install.{name}" for name in (*decided, *derived_values(decided), ALL_SETTINGS)}
    outputs = {item["name"]: _outputs(item) for item in spec.get("templates", [])}
    outside = {key: value for key, value in spec.items() if key != "templates"}
    problems = [f"spec: {tag}" for tag in tags(outside) if tag not in known]
    for template in spec.get("templates", []):
        known_here = known | (_RETRIED if "retryStrategy" in template else set())
        inside = known_here | _inputs(template) | _task_outputs(template, outputs) | _item(template)
        problems += [f"{template['name']}: {tag}" for tag in tags(template) if tag not in inside]
    return problems


def tags(value: object) -> list[str]:
    """The tags, and what the expressions among them read."""
    # An expression may have one of the installer's in it, which is text when Argo reads it.
    text = json.dumps(value)
    installers = _INSTALL_TAG.findall(text)
    found = [*installers, *(t.strip() for t in _TAG.findall(_INSTALL_TAG.sub("", text)))]
    return [name for tag in found for name in (_read_by(tag) if tag.startswith("=") else [tag])]


def _read_by(expression: str) -> list[str]:
    names = [f"{scope}.parameters.{name}" for scope, name in _PARAMETER.findall(expression)]
    names += re.findall(r"workflow\.namespace", expression)
    assert names, expression
    return names


def _inputs(template: dict[str, Any]) -> set[str]:
    items = template.get("inputs", {}).get("parameters", [])
    return {f"inputs.parameters.{item['name']}" for item in items}


def _item(template: dict[str, Any]) -> set[str]:
    steps = [step for group in template.get("steps", []) for step in group]
    return {"item"} if any("withParam" in step for step in steps) else set()


def _outputs(template: dict[str, Any]) -> list[str]:
    return [item["name"] for item in template.get("outputs", {}).get("parameters", [])]


def _task_outputs(template: dict[str, Any], outputs: dict[str, list[str]]) -> set[str]:
    return {
        f"tasks.{task['name']}.{what}"
        for task in template.get("dag", {}).get("tasks", [])
        for what in (
            *(f"outputs.parameters.{name}" for name in outputs.get(task["template"], [])),
            "startedAt",
            "finishedAt",
        )
    }
