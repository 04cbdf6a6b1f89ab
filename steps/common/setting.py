"""A setting of a run: one row of the table workflows/workspace/run_settings.py, or of a provider's
own settings. Standard library only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from argotune.steps.common.fields import fields_of
from argotune.steps.common.values import TEXT, ValueType

_METADATA = "setting"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one setting is, and who reads it."""

    name: str
    """Parameter of the WorkflowTemplate, annotation argotune.dev/NAME of the workspace file and
    flag of the command line."""
    description: str
    """One sentence for Argo's form and for the reference page."""
    value: ValueType = TEXT
    choices: tuple[str, ...] = ()
    """The accepted texts of the workspace file; empty: what `value` accepts."""
    default: str = ""
    """The template's parameter where nothing is given."""
    default_meaning: str = ""
    """What the default comes to, where the text of it does not say so."""
    feeds: tuple[str, ...] = ()
    """Flags of steps, STEP.FLAG, that get it as it is."""
    used_by: str = ""
    """Who reads it, where it is not the flag of a step."""
    place: str = ""
    """Field of the workspace file; empty: the annotation."""
    providers: tuple[str, ...] = ()
    """Providers with which it has an effect; empty: all."""
    is_installable: bool = False
    """Whether `argotune install --NAME` can set it for all runs."""
    is_parameter: bool = True
    """Whether the template has a parameter for it."""
    is_annotation: bool = True
    """Whether the workspace file may have it as an annotation."""

    def problem(self, text: str) -> str | None:
        """What is accepted, where the text of the workspace file is not; an empty text is none."""
        if text == "":
            return None
        if self.choices and text not in self.choices:
            return " or ".join(self.choices)
        return None if self.value.check(text) else self.value.accepted

    def parameter_choices(self) -> tuple[str, ...]:
        """The accepted texts of the template's parameter."""
        return tuple(map(self.value.parameter, self.choices))


def setting(
    default: str,
    *,
    value: ValueType = TEXT,
    default_meaning: str = "",
    is_installable: bool = False,
    is_annotation: bool = True,
) -> Any:
    """A field of a provider's settings: the step's parameter and the setting in one."""
    row = {
        "value": value,
        "default_meaning": default_meaning,
        "is_installable": is_installable,
        "is_annotation": is_annotation,
    }
    return dataclasses.field(default=default, metadata={_METADATA: row})


def settings_of(cls: type, *, provider: str, steps: Sequence[str]) -> tuple[Setting, ...]:
    """The rows of a provider's settings: the class's own fields that `setting` made, which the
    steps of these names have as flags."""
    rows = {
        field.name.replace("_", "-"): field.metadata[_METADATA]
        for field in dataclasses.fields(cls)
        if field.name in cls.__annotations__ and _METADATA in field.metadata
    }
    return tuple(
        Setting(
            name=field.kebab,
            description=field.doc.removesuffix("."),
            choices=tuple(filter(None, field.choices)),
            default=field.default or "",
            feeds=tuple(f"{step}.{field.kebab}" for step in steps),
            providers=(provider,),
            **rows[field.kebab],
        )
        for field in fields_of(cls)
        if field.kebab in rows
    )
