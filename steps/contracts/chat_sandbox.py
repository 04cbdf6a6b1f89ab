"""A sandbox for chat templates, which come with a model and are foreign code.

Jinja's sandbox keeps a template from Python's insides, not from the machine's memory and time: one
line, `{{ 'x' * 10**9 }}`, takes a gigabyte. Here every value that a template makes, and all that it
writes, has at most MAX_CHARACTERS, and every loop and call looks at the clock. What could make a
larger value in one go is refused before it does: a process that the kernel kills says nothing.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from jinja2 import Environment, nodes, pass_context
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARACTERS = 1 << 26
MAX_SECONDS = 10.0
"""Longest time to render one conversation; templates take milliseconds."""
_RARELY_REACHED = 4
_MAX_BITS = 64
"""Of a whole number that a template computes."""
_OF_JINJA = (Context, Environment, nodes.EvalContext)
"""What some filters get before their arguments."""
_SPEND, _COUNTED = "argotune_spend", "argotune_counted"
# A field's width in a format: '%999999999d' and '{:999999999}'; '%*d' takes it from a value.
_WIDE_FIELD = re.compile(r"[0-9]{6}|%[^a-zA-Z%]*\*")
# What a template may raise: its own errors, and those of Python for what it does to its values.
_FAILURES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,  # RecursionError is one
    SyntaxError,
    TypeError,
    ValueError,
)


class TemplateFailure(Exception):
    """A chat template refused a conversation, failed, or exceeded a limit; the text says which."""


class _Budget:
    """What one rendering may still take."""

    def __init__(self) -> None:
        self._characters = MAX_CHARACTERS
        self._deadline = time.monotonic() + MAX_SECONDS

    def spend(self, characters: int) -> None:
        self._characters -= characters
        if self._characters < 0:
            raise SecurityError(f"it writes over {MAX_CHARACTERS} characters")
        if time.monotonic() > self._deadline:
            raise SecurityError(f"it takes over {MAX_SECONDS:g} s")


_BUDGET: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextlib.contextmanager
def bounded_rendering() -> Iterator[None]:
    """Give the block, which renders one conversation, its budget. Raises TemplateFailure."""
    token = _BUDGET.set(_Budget())
    try:
        yield
    except MemoryError as error:
        raise TemplateFailure("it needs more memory than there is") from error
    except RecursionError as error:
        raise TemplateFailure("it calls itself without end, or is nested too deeply") from error
    except _FAILURES as error:
        raise TemplateFailure(str(error) or type(error).__name__) from error
    finally:
        _BUDGET.reset(token)


class ChatSandbox(ImmutableSandboxedEnvironment):
    """The sandbox; the sum of what is written and the time need `bounded_rendering`."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        # Without the optimizer, which computes constants, and so 10**9 letters, without asking us.
        super().__init__(**options, optimized=False, finalize=_write)
        # Words at random, as many as it is told.
        self.globals.pop("lipsum", None)
        self.filters = _Filters(self.filters)
        self.filters[_SPEND] = _charge
        self.filters[_COUNTED] = _count

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _charge_turns(super()._parse(source, name, filename))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute, unless the result is too large."""
        _check_operands(operator, left, right)
        value = super().call_binop(context, operator, left, right)
        _extent(value)
        return value

    def call(self, context: Any, called: Any, /, *args: Any, **options: Any) -> Any:
        """Call, unless the arguments make a method of a text return too large a one."""
        # Jinja wraps `format`.
        receiver = getattr(getattr(called, "__wrapped__", called), "__self__", None)
        if isinstance(receiver, str):
            _check_arguments(receiver, *args, *options.values())
            if called.__name__ in ("format", "format_map"):
                _check_format(receiver)
        _spend(0)
        value = super().call(context, called, *args, **options)
        _extent(value)
        return value


class _Filters(dict[str, Callable[..., Any]]):
    """Filters by name, each of which looks at its arguments and its result."""

    def __getitem__(self, name: str) -> Callable[..., Any]:
        found: Callable[..., Any] = self._limit_result(name, super().__getitem__(name))
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """The filter; Jinja asks so for `map` and to compute constants."""
        return self._limit_result(name, super().get(name, default))

    @staticmethod
    def _limit_result(name: str, called: Any) -> Any:
        if name in (_SPEND, _COUNTED) or called is None:
            return called

        @functools.wraps(called)  # and with it Jinja's marks of what else the filter is given
        def bounded(*args: Any, **options: Any) -> Any:
            given = [value for value in args if not isinstance(value, _OF_JINJA)]
            _check_arguments(*given, *options.values())
            if name == "format":
                _check_format(given[0])
            value = called(*args, **options)
            _extent(value)
            return value

        return bounded


def _charge_turns(template: nodes.Template) -> nodes.Template:
    """The template with a charge for each turn of a loop and each call of a macro."""
    loop: Any
    body: Any
    for loop in template.find_all(nodes.For):
        loop.iter = _filter(loop.iter, _COUNTED)
    for body in template.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
        texts = sum(len(part.data) for part in body.find_all(nodes.TemplateData))
        charge = _filter(nodes.Const(texts), _SPEND)
        body.body.insert(0, nodes.Output([charge], lineno=body.lineno))
    for joined in template.find_all(nodes.Concat):
        # Which has no hook, so that the filter that does the same stands in for it.
        joined.nodes = [_filter(nodes.List(joined.nodes), "join")]
    environment: Any = template.environment
    template.set_environment(environment)
    return template


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _spend(characters: int) -> str:
    """Charge for a turn of a loop or a call that writes that many characters of the template."""
    budget = _BUDGET.get()
    if budget is not None:
        budget.spend(1 + characters)
    return ""


@pass_context  # so that it is no constant, which would be computed once
def _charge(context: Any, characters: int) -> str:
    return _spend(characters)


def _count(values: Iterable[Any]) -> Iterator[Any]:
    """The values; also those that the loop's condition leaves out take time."""
    for value in values:
        _spend(0)
        yield value


def _write(value: Any) -> Any:
    """A value on its way into the text."""
    _spend(_extent(value))
    return value


def _check_operands(operator: str, left: Any, right: Any) -> None:
    numbers = [value for value in (left, right) if isinstance(value, int)]
    if operator == "%" and isinstance(left, str):
        _check_format(left)
        _check_arguments(left, right)
    elif operator == "*" and len(numbers) == 2:
        _check_bits(left.bit_length() + right.bit_length())
    elif operator == "*" and numbers:
        _check_size(_extent(left if numbers[0] is right else right) * max(0, numbers[0]))
    elif operator == "**" and len(numbers) == 2:
        _check_bits(left.bit_length() * max(0, right))


def _check_arguments(receiver: Any, *args: Any) -> None:
    """Refuse what could return far too long a text, as `replace` and `center` do.

    No method or filter returns more than the receiver's size times an argument's, and few as much.
    """
    largest = max((_factor(value) for value in args), default=1)
    _check_size((1 + _extent(receiver)) * largest // _RARELY_REACHED)


def _check_format(text: Any) -> None:
    if isinstance(text, str) and _WIDE_FIELD.search(text):
        raise SecurityError("it formats a field of unlimited width")


def _factor(value: Any) -> int:
    return abs(value) if isinstance(value, int) else _extent(value)


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise SecurityError(f"it computes a number of over {_MAX_BITS} bits")


def _check_size(size: int) -> None:
    if size > MAX_CHARACTERS:
        raise SecurityError(f"it makes a value of over {MAX_CHARACTERS} characters")


def _extent(value: Any) -> int:
    """About the characters of a value as text. Raises SecurityError if it is too large."""
    size, waiting = 0, [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                size += len(text)
            case list() | tuple() as items:
                size += len(items)
                waiting.extend(items)
            case dict() as items:
                size += len(items)
                waiting.extend(items)
                waiting.extend(items.values())
            case _:
                size += 1
        _check_size(size)
    return size
