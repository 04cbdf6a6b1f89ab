"""What the engine raises: before a run starts, and inside one."""

from __future__ import annotations

from collections.abc import Iterable


class EngineError(Exception):
    """The documents or options cannot be run; ``problems`` holds every reason, one a line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class UnsupportedError(EngineError):
    """The documents use fields that this engine does not support, or that Argo does not know."""


class ExpressionError(ValueError):
    """An expression cannot be parsed or evaluated; the text says which one and why."""


class UnresolvedError(ValueError):
    """A ``{{...}}`` tag names something that has no value at this point of the run."""


class PodError(Exception):
    """A pod could not be started or its outputs not be read: Argo's phase ``Error``."""


class TemplateError(Exception):
    """A template could not be executed; its node is marked already."""
