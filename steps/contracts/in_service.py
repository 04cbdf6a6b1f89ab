"""What is known of the adapter in service: annotations of its Deployment, or of its record here.

A rollback needs nothing else, so it works when the run that deployed is long gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from argotune.steps.common.errors import PermanentError

ADAPTER = "argotune.dev/adapter"
SUBMITTER_ANNOTATION = "argotune.dev/submitted-by"
"""Annotation of a Workflow: the person's name at the API server, which `argotune submit` notes."""
_SETTINGS = "argotune.dev/service-settings"
_NAMES = {
    "adapter": ADAPTER,
    "version": "argotune.dev/version",
    "previous": "argotune.dev/previous-adapter",
    "dataset_digest": "argotune.dev/dataset-digest",
    "run": "argotune.dev/deployed-by-run",
    "time": "argotune.dev/deployed-at",
    "person": "argotune.dev/deployed-by",
}
"""Field -> annotation."""


@dataclass(frozen=True, kw_only=True)
class InService:
    """One adapter in service; what is not known is empty."""

    adapter: str
    """Reference of its image by digest."""
    version: str = ""
    """Its tag vN."""
    previous: str = ""
    """Reference by digest of the adapter that was in service before."""
    dataset_digest: str = ""
    run: str = ""
    """The Workflow whose step deploy put it into service."""
    time: str = ""
    """When that was, RFC 3339."""
    person: str = ""
    """Who began that Workflow, as Argo's server or `argotune submit` recorded it."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Flags of step deploy that another adapter of this service gets too."""

    def annotations(self) -> dict[str, str]:
        """Write it as annotations."""
        values = asdict(self)
        return {
            **{name: values[key] for key, name in _NAMES.items()},
            _SETTINGS: json.dumps(dict(self.settings), sort_keys=True),
        }


def read_in_service(annotations: Mapping[str, str]) -> InService | None:
    """Read what `annotations` wrote; None where an earlier version of argotune deployed.

    Raises PermanentError if somebody edited the settings into something else.
    """
    if not annotations.get(ADAPTER):
        return None
    values = {key: annotations.get(name, "") for key, name in _NAMES.items()}
    return InService(**values, settings=_settings(annotations.get(_SETTINGS, "{}")))


def _settings(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise PermanentError(
            f"annotation {_SETTINGS}: {text[:60]!r} is not the JSON that deploy writes there; the"
            " next run of the workspace writes it again"
        )
    return found
