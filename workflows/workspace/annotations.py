"""The annotations `argotune.dev/...` of a Workspace."""

from __future__ import annotations

from collections.abc import Iterable

from argotune.presets.loader import nearest
from argotune.workflows.workspace.fields import Fields
from argotune.workflows.workspace.model import Options
from argotune.workflows.workspace.run_settings import PREFIX, annotation_settings


def read_options(fields: Fields) -> Options:
    """Read the settings of the annotations, or of the flags that replace them."""
    known = annotation_settings()
    annotations, overrides = fields.mapping("metadata.annotations"), fields.overrides
    ours = {
        name.removeprefix(PREFIX): text
        for name, text in annotations.items()
        if name.startswith(PREFIX)
    }
    values: dict[str, str] = {}
    for name in [*ours, *(flag for flag in overrides if flag in known and flag not in ours)]:
        path = f"--{name}" if name in overrides else f"metadata.annotations.{PREFIX}{name}"
        text = overrides.get(name, ours.get(name, ""))
        if name not in known:
            fields.problems.append(f"{path}: unknown annotation; {_advice(name, known)}")
            continue
        problem = known[name].problem(text)
        if problem is not None:
            fields.problems.append(f"{path}: {text!r}; accepted is {problem}")
        elif text:
            values[name] = text
    return values


def _advice(name: str, known: Iterable[str]) -> str:
    found = nearest(name, known)
    if found is not None:
        return f"did you mean {PREFIX}{found}?"
    return f"known are {', '.join(f'{PREFIX}{each}' for each in known)}"
