"""`depends` and `dependencies` of DAG tasks: the tasks that they name and whether they are met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.expr import parse
from argotune.workflows.engine.language.expr.ast import (
    Binary,
    Expression,
    Literal,
    Member,
    Name,
    Unary,
    walk,
)
from argotune.workflows.engine.language.expr.evaluate import evaluate_tree
from argotune.workflows.engine.model import JsonObject, NodeType, Phase

_RESULTS = frozenset(
    {
        "Succeeded",
        "Failed",
        "Errored",
        "Skipped",
        "Omitted",
        "Daemoned",
        "AnySucceeded",
        "AllFailed",
    }
)
_ITEM_RESULTS = frozenset({"AnySucceeded", "AllFailed"})


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The dependencies of one task."""

    names: tuple[str, ...]
    """The tasks that the condition names, in the order of the DAG's tasks."""
    of_items: frozenset[str]
    """Those of `names` whose `AnySucceeded` or `AllFailed` the condition uses."""
    condition: Expression | None

    def met(self, results: Mapping[str, Mapping[str, bool]]) -> bool:
        """Whether the task runs, given the results of its dependencies. Raises ExpressionError."""
        if self.condition is None:
            return True
        answer = evaluate_tree(
            self.condition, {_variable(name): dict(result) for name, result in results.items()}
        )
        if not isinstance(answer, bool):
            raise ExpressionError(f"depends is {answer!r}, expected true or false")
        return answer


def dependencies(task: JsonObject, tasks: Sequence[JsonObject]) -> Dependencies:
    """The dependencies of `task`, one of the DAG's `tasks`. Raises ExpressionError."""
    by_variable = {_variable(other["name"]): other for other in tasks}
    depends = task.get("depends") or ""
    condition: Expression | None
    if depends:
        condition = _expand(parse(_variable(depends)), by_variable, depends)
    else:
        condition = _all_of(
            [_usual(other, by_variable) for other in task.get("dependencies") or []]
        )
    named: set[str] = set()
    of_items: set[str] = set()
    for node in walk(condition) if condition is not None else ():
        if isinstance(node, Member) and isinstance(node.target, Name):
            name = by_variable[node.target.name]["name"]
            named.add(name)
            if isinstance(node.key, Literal) and node.key.value in _ITEM_RESULTS:
                of_items.add(name)
    order = tuple(other["name"] for other in tasks if other["name"] in named)
    return Dependencies(order, frozenset(of_items), condition)


def results(phase: Phase, type_: NodeType, child_phases: Sequence[Phase]) -> dict[str, bool]:
    """The values of `task.Succeeded` and the other results of a node; a loop has child phases."""
    is_loop = type_ is NodeType.TASK_GROUP
    return {
        "Succeeded": phase is Phase.SUCCEEDED,
        "Failed": phase is Phase.FAILED,
        "Errored": phase is Phase.ERROR,
        "Skipped": phase is Phase.SKIPPED,
        "Omitted": phase is Phase.OMITTED,
        "Daemoned": False,
        "AnySucceeded": is_loop and Phase.SUCCEEDED in child_phases,
        "AllFailed": is_loop
        and bool(child_phases)
        and all(child is Phase.FAILED for child in child_phases),
    }


def _variable(text: str) -> str:
    """Task names have dashes and variables cannot; Argo writes underscores instead."""
    return text.replace("-", "_")


def _usual(name: str, by_variable: Mapping[str, JsonObject]) -> Expression:
    task = by_variable.get(_variable(name))
    if task is None or task["name"] != name:
        raise ExpressionError(f"dependency '{name}' not defined")
    return _succeeded_or_skipped(task)


def _succeeded_or_skipped(task: JsonObject) -> Expression:
    """The meaning of a task's bare name: it succeeded, was skipped, or may fail (continueOn)."""
    continue_on = task.get("continueOn") or {}
    accepted = ["Succeeded", "Skipped", "Daemoned"]
    accepted += ["Errored"] if continue_on.get("error") else []
    accepted += ["Failed"] if continue_on.get("failed") else []
    variable = Name(_variable(task["name"]))
    condition: Expression = Member(variable, Literal(accepted[0]))
    for result in accepted[1:]:
        condition = Binary("||", condition, Member(variable, Literal(result)))
    return condition


def _all_of(conditions: list[Expression]) -> Expression | None:
    if not conditions:
        return None
    combined = conditions[0]
    for condition in conditions[1:]:
        combined = Binary("&&", combined, condition)
    return combined


def _expand(node: Expression, by_variable: Mapping[str, JsonObject], depends: str) -> Expression:
    """The same condition with bare task names written out. Raises ExpressionError."""
    match node:
        case Name(name):
            return _succeeded_or_skipped(_task(name, by_variable))
        case Member(Name(name), Literal(result)):
            if result not in _RESULTS:
                task = _task(name, by_variable)["name"]
                raise ExpressionError(f"task result '{result}' for task '{task}' is invalid")
            _task(name, by_variable)
            return node
        case Unary("!", operand):
            return Unary("!", _expand(operand, by_variable, depends))
        case Binary("&&" | "||" as operator, left, right):
            return Binary(
                operator,
                _expand(left, by_variable, depends),
                _expand(right, by_variable, depends),
            )
    raise ExpressionError(
        f"depends {depends!r} must be made of task names, results, &&, ||, ! and parentheses"
    )


def _task(variable: str, by_variable: Mapping[str, JsonObject]) -> JsonObject:
    task = by_variable.get(variable)
    if task is None:
        raise ExpressionError(f"dependency '{variable}' not defined")
    return task
