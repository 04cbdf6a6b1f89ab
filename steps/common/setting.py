"""A setting of a run, a row of steps/settings/run_settings.py or of a provider's settings.

This module imports only the standard library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from argotune.steps.common.fields import fields_of
from argotune.steps.common.values import TEXT, ValueType

_METADATA = "setting"

Decider = Literal["installer", "submitter"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: its name, accepted values, default, and the flags that it feeds."""

    name: str
    """Parameter of the WorkflowTemplate, annotation argotune.dev/NAME of the workspace file and
    flag of the command line."""
    description: str
    """One sentence for Argo's form and for the reference page."""
    value: ValueType = TEXT
    choices: tuple[str, ...] = ()
    """The accepted values in the workspace file; empty: those that `value` accepts."""
    local_choices: tuple[str, ...] = ()
    """Those of them that mean this machine: a cluster's form and policy do not have them."""
    default: str = ""
    """Default of the template's parameter."""
    default_meaning: str = ""
    """Effect of the default, if its text does not tell."""
    feeds: tuple[str, ...] = ()
    """Flags of steps, STEP.FLAG, that get the value unchanged."""
    used_by: str = ""
    """What reads the value, if it is not a flag of a step."""
    place: str = ""
    """Field of the workspace file; empty: the annotation."""
    providers: tuple[str, ...] = ()
    """Providers with which the setting has an effect; empty: all."""
    decided_by: Decider = "submitter"
    """Who decides it: with `installer` it is text in the installed template and no parameter, so
    that no submitter can change it."""
    is_installable: bool = False
    """Whether `argotune install --NAME` sets it."""
    is_required: bool = False
    """Whether every run must give it, because no default can work; then Argo's form has none."""
    is_in_template: bool = True
    """Whether the template has a parameter or, if the installer decides it, a text for it."""
    is_annotation: bool = True
    """Whether the workspace file may have it as an annotation."""

    @property
    def is_parameter(self) -> bool:
        """Whether the template has a parameter for it."""
        return self.is_in_template and self.decided_by == "submitter"

    def problem(self, text: str) -> str | None:
        """The accepted values if the file's text is not one of them, else None; empty is accepted.

        What YAML reads as a number must be in quotes there.
        """
        if text == "":
            return None
        if self.choices and text not in self.choices:
            return " or ".join(self.choices)
        if self.value.check(text):
            return None
        return f"{self.value.accepted}{', in quotes' if self.value.is_number else ''}"

    def parameter_problem(self, text: str) -> str | None:
        """Likewise of the template's parameter, in which lists are JSON; the default is accepted.

        What the items of a list may be, the steps say.
        """
        choices = self.parameter_choices()
        if text in ("", self.default):
            return None
        if choices and text not in choices:
            return " or ".join(choices)
        is_accepted = self.value.items is not None or self.value.check(text)
        return None if is_accepted else self.value.accepted

    def parameter_choices(self) -> tuple[str, ...]:
        """The accepted values of the template's parameter."""
        return tuple(map(self.value.parameter, self.choices))

    def cluster_choices(self) -> tuple[str, ...]:
        """Those of them that can work on a cluster."""
        kept = (choice for choice in self.choices if choice not in self.local_choices)
        return tuple(map(self.value.parameter, kept))


def setting(
    default: str,
    *,
    value: ValueType = TEXT,
    default_meaning: str = "",
    decided_by: Decider = "submitter",
    is_annotation: bool = True,
) -> Any:
    """A dataclass field of a provider's settings, both a step's parameter and a setting.

    A setting that the installer decides is a flag of `argotune install`.
    """
    row = {
        "value": value,
        "default_meaning": default_meaning,
        "decided_by": decided_by,
        "is_installable": decided_by == "installer",
        "is_annotation": is_annotation,
    }
    return dataclasses.field(default=default, metadata={_METADATA: row})


def settings_of(cls: type, *, provider: str, steps: Sequence[str]) -> tuple[Setting, ...]:
    """The rows of a provider's settings, from the fields of the class that `setting` created.

    The steps with these names have the fields as flags.
    """
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
