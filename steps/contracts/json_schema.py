"""JSON, JSON schemas and regular expressions of others: matched in linear time, nothing fetched.

Both are checked by plan and used by evaluate. A backtracking engine would take hours for some
pattern and some answer, and a schema may refer to addresses inside the network.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, Protocol

import jsonschema_rs
from jsonschema_rs import ValidationError

_MOST_COMPILED_BYTES = 1 << 20
_LINEAR = jsonschema_rs.RegexOptions(size_limit=_MOST_COMPILED_BYTES)


class Validator(Protocol):
    """A compiled schema."""

    def is_valid(self, instance: Any) -> bool:
        """Whether the value is valid."""
        ...

    def validate(self, instance: Any) -> None:
        """Raise ValidationError, a ValueError whose `message` says what is wrong first."""
        ...


def compile_schema(schema: Any) -> Validator:
    """Compile a JSON schema. Raises ValueError with what is wrong with it."""
    try:
        return jsonschema_rs.validator_for(
            schema,
            pattern_options=_LINEAR,
            validate_formats=True,
            ignore_unknown_formats=False,
            offline=True,
        )
    except ValidationError as error:
        path = "".join(f"[{part!r}]" for part in error.instance_path)
        raise ValueError(f"{error.message}{f' at {path}' if path else ''}") from error


def compile_pattern(pattern: str) -> Validator:
    """Compile a regular expression into a schema of the texts in which it matches.

    Raises ValueError for one that is wrong, needs backtracking, or is too large when compiled.
    """
    try:
        return compile_schema({"type": "string", "pattern": pattern})
    except ValueError:
        raise ValueError(
            "a regular expression as Rust's regex takes it: without look-around and "
            "back-references, and small when its repetitions are written out"
        ) from None


def problem_of(validator: Validator, value: Any) -> str:
    """What is wrong with a value by a compiled schema, and where; empty if nothing is."""
    try:
        validator.validate(value)
    except ValidationError as error:
        path = "".join(f"[{part!r}]" for part in error.instance_path)
        return f"{error.message}{f' at {path}' if path else ''}"
    return ""


def read_json(text: str) -> object:
    """The value of a JSON text. Raises ValueError, also for NaN and for too deep a nesting."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
