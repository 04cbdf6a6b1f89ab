"""Every step's parameters, built from the template's arguments when the file is read.

A late step's refusal is reported before anything runs, with the file's names of the settings.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fields import Field, fields_of, parse_fields
from argotune.workflows.workspace import manifests, tags

_TAG = re.compile(r"\{\{([^{}]+)\}\}")
_PATTERN = manifests.install_tag(manifests.ALLOWED_SECRETS_PATTERN)
_INPUT = "inputs.parameters."

# Outputs of earlier steps, unknown until they run; the values only have the right form.
_LATER: Mapping[str, str] = {
    "node-selector": '{"argotune.dev/node": "later"}',
    "created": "2026-01-31T12:00:00Z",
    "dataset-digest": f"sha256:{64 * '0'}",
    "reference": f"registry.example.com/later@sha256:{64 * '0'}",
}
_LATER_BY_KIND: Mapping[type, str] = {int: "1", float: "1", bool: "true", tuple: "[]"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A step's refusal."""

    step: str
    setting: str
    """Setting that gives the step's flag its value; empty where no single one does."""
    text: str
    """The value, and what to do; after the flag where there is no setting."""


def step_problems(arguments: Mapping[str, str]) -> Iterator[Problem]:
    """List what the steps refuse of the template's arguments; missing ones have their defaults."""
    spec = manifests.rendered(manifests.NAME)[0]["spec"]
    defaults = {each["name"]: str(each["value"]) for each in spec["arguments"]["parameters"]}
    settings = {**manifests.install_defaults(), **defaults, **arguments}
    tasks = _task_arguments(spec)
    for template in spec["templates"]:
        if "container" in template:
            yield from _problems_of(template, tasks.get(template["name"], {}), settings)


def _problems_of(
    template: Mapping[str, Any], inputs: Mapping[str, str], settings: Mapping[str, str]
) -> Iterator[Problem]:
    step = template["name"]
    module = importlib.import_module(f"{template['container']['command'][-1]}.params")
    fields = {field.kebab: field for field in fields_of(module.Params)}
    args = [tags.plain(arg).replace(_PATTERN, "") for arg in template["container"]["args"]]
    flags = dict(arg.removeprefix("--").split("=", 1) for arg in args)
    texts = {name: _resolve(text, inputs) for name, text in flags.items() if name in fields}
    values = {name: _value(fields[name], text, settings) for name, text in texts.items()}
    try:
        parse_fields(module.Params, values)
    except ParamsError as error:
        for problem in error.problems:
            flag, _, reason = problem.removeprefix("--").partition(": ")
            setting = _setting_in(texts.get(flag, ""))
            yield Problem(step=step, setting=setting, text=reason if setting else problem)


def _task_arguments(spec: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the DAG's arguments to each template: input to text."""
    return {
        task["template"]: {
            each["name"]: str(each["value"])
            for each in task.get("arguments", {}).get("parameters", [])
        }
        for template in spec["templates"]
        for task in template.get("dag", {}).get("tasks", [])
    }


def _resolve(text: str, inputs: Mapping[str, str]) -> str:
    """Replace the template's inputs in a flag's text by the task's arguments."""

    def replacement(match: re.Match[str]) -> str:
        name = match[1].removeprefix(_INPUT)
        return inputs[name] if match[1].startswith(_INPUT) else match[0]

    return _TAG.sub(replacement, text)


def _value(field: Field, text: str, settings: Mapping[str, str]) -> str:
    if _setting_in(text):
        return settings[_setting_in(text)]
    if _TAG.fullmatch(text):
        return _LATER.get(field.kebab) or _LATER_BY_KIND.get(field.kind, "later")
    return _TAG.sub(lambda match: settings.get(_setting_in(match[0]), "later"), text)


def _setting_in(text: str) -> str:
    """Return the setting that is the whole of the text; empty where none is."""
    match = manifests.INSTALL_TAG.fullmatch(text)
    return match[1] if match else tags.parameter_of(text) or ""
