"""What a Deployment served before, noted at it until its new servers have answered.

Deploy notes it beside a new adapter, and provision where the service gives its GPU to a run of its
workspace. So whoever fails, is killed or comes next knows what to go back to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Object = Mapping[str, Any]

DuringTuning = Literal["wait", "cpu", "hand-over"]
"""What the service of a workspace does while a run of it wants the GPU that it has."""
NOTE = "argotune.dev/before-deploy"
"""Annotation of the Deployment, JSON."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """What answered last."""

    template: dict[str, Any]
    """Its pod template."""
    replicas: int
    run: str = ""
    """UID of the run that has the service's GPU meanwhile; empty: none has."""

    def text(self) -> str:
        """Write it as the annotation."""
        return json.dumps(asdict(self))


def read_note(deployment: Object) -> Note | None:
    """Read the annotation; None without one. Raises ValueError where somebody edited it."""
    text = (deployment["metadata"].get("annotations") or {}).get(NOTE)
    if text is None:
        return None
    try:
        found = json.loads(text)
        return Note(
            template=dict(found["template"]),
            replicas=int(found["replicas"]),
            run=str(found.get("run", "")),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"annotation {NOTE}: {text[:60]!r} is not what argotune writes") from error


def replicas_of(deployment: Object) -> int:
    """As many servers as the Deployment is to have."""
    return int(deployment["spec"].get("replicas", 1))


def merge_to(wanted: Object, now: Object) -> dict[str, Any]:
    """The JSON merge patch that makes `now` into `wanted`: None deletes a field."""
    gone = {key: None for key in now if key not in wanted}
    changed = {
        key: merge_to(value, now[key])
        if isinstance(value, Mapping) and isinstance(now.get(key), Mapping)
        else value
        for key, value in wanted.items()
        if now.get(key) != value
    }
    return {**gone, **changed}
