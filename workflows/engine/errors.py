"""The errors of the engine.

EngineError           the run does not start: the user changes the documents or options
  UnsupportedError    the documents use a field that the engine does not support
ExpressionError       a node is Error: an expression is not valid
UnresolvedError       a node is Error: a tag has no value
PodError              a node is Error: its pod cannot start
TemplateError         the caller of a template ends; the template's node is already Error
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class EngineError(Exception):
    """The documents or options cannot be run; `problems` holds all reasons, one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class UnsupportedError(EngineError):
    """The documents have fields that the engine does not support, or that Argo does not have."""


class ExpressionError(ValueError):
    """An expression cannot be parsed or evaluated; the message names it and the reason."""


class UnresolvedError(ValueError):
    """A `{{...}}` tag has no value at this point of the run."""


class PodError(Exception):
    """A pod cannot start, or its outputs cannot be read: Argo's phase `Error`."""


class TemplateError(Exception):
    """A template cannot be executed; its node is already marked Error."""


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Name `path` in an OSError that names no file, as that of a write to a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
