"""Checks of single fields and of the order of tasks, which `validate` uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from argotune.workflows.engine.controller.retry import POLICIES
from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.depends import Dependencies
from argotune.workflows.engine.language.govalues import parse_duration_seconds
from argotune.workflows.engine.language.loops import is_loop
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.state.run_state import Caller
from argotune.workflows.engine.validation.names import RETRY_NAMES, Known, expression_problems

FIELD_NAME = re.compile(r"^[a-zA-Z0-9][-a-zA-Z0-9]*$")


def with_prefix(where: str, problems: Iterator[str]) -> Iterator[str]:
    """The problems, each with its place in front."""
    return (f"{where}: {problem}" for problem in problems)


def declared_parameters(spec: JsonObject) -> set[Any]:
    """The names of a spec's parameters."""
    return {p.get("name") for p in (spec.get("arguments") or {}).get("parameters") or []}


def missing_template(caller: Caller) -> str:
    """The problem of a call whose template does not exist."""
    if caller.template_ref:
        reference = caller.template_ref
        kind = "ClusterWorkflowTemplate" if reference.get("clusterScope") else "WorkflowTemplate"
        return (
            f"template reference {reference.get('name')}.{reference.get('template')} not found: "
            f"add the file of that {kind}"
        )
    return f"template name '{caller.template_name}' undefined"


def argument_problems(
    where: str, template: JsonObject, arguments: JsonObject | None
) -> Iterator[str]:
    """The inputs that a call does not give to its template."""
    given = {p.get("name"): p for p in (arguments or {}).get("parameters") or []}
    for name, parameter in given.items():
        if parameter.get("value") is None and not parameter.get("valueFrom"):
            if where == "spec.entrypoint":
                continue  # reported as a parameter of the workflow
            yield f"{where}.arguments.{name}.value or valueFrom is required"
    inputs = template.get("inputs") or {}
    for parameter in inputs.get("parameters") or []:
        has_own = any(parameter.get(key) is not None for key in ("value", "default", "valueFrom"))
        if not has_own and parameter.get("name") not in given:
            yield (
                f"{where}: templates.{template.get('name') or '(inline)'} inputs.parameters."
                f"{parameter.get('name')} was not supplied"
            )
    for artifact in inputs.get("artifacts") or []:
        if not artifact.get("raw") and not artifact.get("optional"):
            yield (
                f"{where}: templates.{template.get('name') or '(inline)'} inputs.artifacts."
                f"{artifact.get('name')} needs raw data: other artifacts are not supported by "
                "the local engine"
            )


def name_problems(where: str, name: str, seen: set[str]) -> Iterator[str]:
    """The problems of a step's or task's name, which must be valid and unique; added to `seen`."""
    if not name:
        yield f"{where}: name is required"
    elif not FIELD_NAME.match(name):
        yield f"{where}: name '{name}' is invalid"
    elif name in seen:
        yield f"{where}: name '{name}' is not unique"
    seen.add(name)


def dag_problems(
    where: str,
    template: JsonObject,
    tasks: Sequence[JsonObject],
    needed: Mapping[str, Dependencies],
) -> Iterator[str]:
    """The problems of the dependencies between the tasks of a DAG."""
    uses_depends = any(task.get("depends") for task in tasks)
    if uses_depends and any(task.get("dependencies") for task in tasks):
        yield f"{where} cannot use both 'depends' and 'dependencies' in the same DAG template"
    if uses_depends and any(task.get("continueOn") for task in tasks):
        yield (
            f"{where} cannot use 'continueOn' when using 'depends'. Instead use "
            "'dep-task.Failed'/'dep-task.Errored'"
        )
    by_name = {task["name"]: task for task in tasks}
    for name, wanted in needed.items():
        if wanted.names and name[0].isdigit():
            yield (
                f"{where}.tasks.{name} name cannot begin with a digit when using either "
                "'depends' or 'dependencies'"
            )
        for other in sorted(wanted.of_items):
            if not is_loop(by_name[other]):
                yield (
                    f"{where}.tasks.{name} dependency '{other}' uses an items-based condition such "
                    "as .AnySucceeded or .AllFailed but does not contain any items"
                )
    for target in (template["dag"].get("target") or "").split():
        if "{{" not in target and target not in by_name:
            yield f"{where}.targets: target '{target}' is not defined"
    if ring := cycle(needed):
        yield f"{where} dependency cycle detected: {'->'.join(ring)}"


def cycle(needed: Mapping[str, Dependencies]) -> list[str]:
    """The names of a cycle of tasks that wait for each other; empty if there is none."""
    done: set[str] = set()
    for first in needed:
        path: list[str] = []
        waiting = [(first, False)]
        while waiting:
            name, is_left = waiting.pop()
            if is_left:
                path.pop()
                done.add(name)
            elif name in path:
                return [*path[path.index(name) :], name]
            elif name not in done and name in needed:
                path.append(name)
                waiting.append((name, True))
                waiting.extend((other, False) for other in needed[name].names)
    return []


def ancestors(name: str, needed: Mapping[str, Dependencies]) -> set[str]:
    """All tasks that run before `name`."""
    found: set[str] = set()
    waiting = list(needed[name].names)
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting.extend(needed[other].names)
    return found


def retry_problems(strategy: JsonObject, known: Known) -> Iterator[str]:
    """The problems of a retryStrategy."""
    chosen = strategy.get("retryPolicy")
    if chosen and chosen not in POLICIES and "{{" not in chosen:
        yield f"{chosen} is not a valid RetryPolicy, expected one of {', '.join(sorted(POLICIES))}"
    yield from number_problems("limit", strategy.get("limit"), least=0)
    expression = strategy.get("expression")
    if expression and "{{" not in expression:
        yield from expression_problems(expression, known.plus(RETRY_NAMES))
    backoff = strategy.get("backoff")
    if backoff is not None:
        if not backoff.get("duration"):
            yield "backoff.duration is required"
        yield from number_problems("backoff.factor", backoff.get("factor"), least=0)
        for name in ("duration", "maxDuration", "cap"):
            yield from duration_problems(f"backoff.{name}", backoff.get(name))


def duration_problems(where: str, value: Any) -> Iterator[str]:
    """The problem of a value that is set and not a duration."""
    if value in (None, "") or "{{" in str(value):
        return
    try:
        parse_duration_seconds(value)
    except ExpressionError as error:
        yield f"{where}: {error}"


def number_problems(where: str, value: Any, *, least: int) -> Iterator[str]:
    """The problem of a value that is set and not a whole number of at least `least`."""
    if value is None or "{{" in str(value):
        return
    text = str(value)
    if isinstance(value, bool) or not text.isdigit() or int(text) < least:
        yield f"{where} must be a whole number of at least {least}, got {value!r}"
