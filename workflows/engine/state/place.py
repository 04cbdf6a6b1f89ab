"""One execution of a template: what is executed, under which name, where in the tree."""

from dataclasses import dataclass, field, replace

from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.state.documents import TemplateBase
from argotune.workflows.engine.state.run_state import Caller


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


@dataclass(frozen=True, slots=True)
class Execution:
    """A call of a template as the node ``name``."""

    name: str
    caller: Caller
    base: TemplateBase
    """Where the caller's template is looked up."""
    arguments: list[JsonObject] = field(default_factory=list)
    place: Place = field(default_factory=Place)

    def attempt(self, number: int, deadline: float | None) -> "Execution":
        """The same below a Retry node."""
        place = replace(self.place, retried=True, deadline=deadline)
        return replace(self, name=f"{self.name}({number})", place=place)
