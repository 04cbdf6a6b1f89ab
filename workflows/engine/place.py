"""Where in the tree a template is executed, and what says that it could not be."""

from dataclasses import dataclass


class TemplateError(Exception):
    """A template could not be executed; its node is marked already."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the tree a template is executed."""

    boundary_id: str = ""
    step_name: str = ""
    """The step or task as the document names it, without a loop's item."""
    hooked: bool = False
    on_exit: bool = False
    retried: bool = False
    deadline: float | None = None
    """The end of a retry's maxDuration."""
