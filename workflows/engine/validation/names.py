"""The variables that a tag or expression may name at its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.expr import parse
from argotune.workflows.engine.language.expr.ast import (
    Binary,
    Call,
    Expression,
    Let,
    Literal,
    Member,
    Name,
    children,
    is_optional,
    path_of,
)
from argotune.workflows.engine.language.expr.functions import FUNCTIONS
from argotune.workflows.engine.language.expr.parser import PREDICATES
from argotune.workflows.engine.language.expr.sprig import SPRIG_FUNCTIONS
from argotune.workflows.engine.language.loops import is_loop
from argotune.workflows.engine.language.substitute import Tag, tags
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.state.templates import POD_KINDS, kind_of

# Tags that begin otherwise are not Argo's and stay as they are.
_ROOTS = frozenset(
    {
        "workflow",
        "inputs",
        "outputs",
        "tasks",
        "steps",
        "item",
        "pod",
        "node",
        "retries",
        "lastRetry",
    }
)
_FUNCTIONS = FUNCTIONS.keys() | PREDICATES | {"get"}
RETRY_NAMES = frozenset(
    {
        "retries", "lastRetry.exitCode", "lastRetry.status", "lastRetry.duration",
        "lastRetry.message",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """The variables that have a value at some place."""

    names: frozenset[str]
    prefixes: frozenset[str] = frozenset()
    """Prefixes after which any name is allowed, such as `item.` in a `withParam`."""

    def plus(self, names: Iterable[str], prefixes: Iterable[str] = ()) -> Known:
        """These variables and more."""
        return Known(self.names.union(names), self.prefixes.union(prefixes))

    def has(self, name: str) -> bool:
        """Whether a simple tag with this name has a value."""
        return name in self.names or any(name.startswith(prefix) for prefix in self.prefixes)

    def has_path(self, path: str) -> bool:
        """Whether an expression may name this path: a variable, or a map of variables."""
        return self.has(path) or any(name.startswith(f"{path}.") for name in self.names)


def tag_problems(value: Any, known: Known) -> Iterator[str]:
    """The problems of the tags in `value`: undefined variables, invalid expressions."""
    for tag in tags(value):
        if tag.is_expression:
            yield from expression_problems(tag.expression, known)
        elif not any(isinstance(part, Tag) for part in tag.parts):
            name = tag.name
            if name.split(".", 1)[0] in _ROOTS and not known.has(name):
                yield f"failed to resolve {{{{{name}}}}}"


def expression_problems(source: str, known: Known) -> Iterator[str]:
    """The problems of an expression: its syntax, unknown functions, undefined variables."""
    try:
        tree = parse(source)
    except ExpressionError as error:
        yield str(error)
        return
    checker = _ExpressionChecker(known)
    checker.check(tree, frozenset(), may_be_nil=False)
    for problem in checker.problems:
        yield f"expression {source!r}: {problem}"


@dataclass(slots=True)
class _ExpressionChecker:
    known: Known
    problems: list[str] = field(default_factory=list)

    def check(self, node: Expression, bound: frozenset[str], *, may_be_nil: bool) -> None:
        match node:
            case Call(function, arguments):
                self._function(function, bound, may_be_nil)
                for argument in arguments:
                    self.check(argument, bound, may_be_nil=may_be_nil)
            case Let(name, value, body):
                self.check(value, bound, may_be_nil=may_be_nil)
                self.check(body, bound | {name}, may_be_nil=may_be_nil)
            case Binary("??", left, right):
                self.check(left, bound, may_be_nil=True)
                self.check(right, bound, may_be_nil=may_be_nil)
            case Name() | Member() if (path := path_of(node)) is not None:
                self._path(path, bound, may_be_nil or is_optional(node))
            case _:
                for child in children(node):
                    self.check(child, bound, may_be_nil=may_be_nil)

    def _function(self, function: Expression, bound: frozenset[str], may_be_nil: bool) -> None:
        match function:
            case Name(name) if name not in _FUNCTIONS and name not in bound:
                self.problems.append(f"function {name} is not known")
            case Name():
                pass
            case Member(Name("sprig"), Literal(name)) if name not in SPRIG_FUNCTIONS:
                self.problems.append(f"function sprig.{name} is not supported by the local engine")
            case Member(Name("sprig")):
                pass
            case _:
                self.check(function, bound, may_be_nil=may_be_nil)

    def _path(self, path: str, bound: frozenset[str], may_be_nil: bool) -> None:
        root = path.split(".", 1)[0]
        if root in bound or root == "$env" or path in _FUNCTIONS:
            return
        if root not in _ROOTS:
            self.problems.append(f"{root} is not known")
        elif not may_be_nil and not self.known.has_path(path):
            self.problems.append(f"{path} is not defined")


def item_names(step: JsonObject) -> tuple[set[str], set[str]]:
    """The names, and the prefixes of names, of a step's loop."""
    if not is_loop(step):
        return set(), set()
    if step.get("withItems"):
        names = {"item"}
        maps = [item for item in step["withItems"] if isinstance(item, dict)]
        names |= {f"item.{key}" for item in maps for key in item}
        has_tags = any(isinstance(item, str) and "{{" in item for item in step["withItems"])
        return names, {"item."} if has_tags else set()
    return {"item"}, {"item."} if step.get("withParam") else set()


def result_names(prefix: str, template: JsonObject | None, *, in_loop: bool) -> set[str]:
    """The variables of a step or task that has ended."""
    fields = {"id", "status", "startedAt", "finishedAt", "hostNodeName"}
    if template is None:
        return {f"{prefix}.{name}" for name in fields}
    if kind_of(template) in POD_KINDS:
        fields |= {"outputs.result", "exitCode"}
    for parameter in (template.get("outputs") or {}).get("parameters") or []:
        fields.add(f"outputs.parameters.{parameter.get('name')}")
    if in_loop:
        fields |= {"outputs.parameters", "outputs.result"}
    return {f"{prefix}.{name}" for name in fields}
