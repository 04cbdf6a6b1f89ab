"""What is known of the adapter in service: annotations of its Deployment, or of its record here.

A rollback needs nothing else, so it works when the run that deployed is long gone.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from argotune.steps.common.errors import PermanentError

DeployTo = Literal["kubernetes", "process", "none"]
"""Where a run deploys its adapter: a Deployment, a server of this machine, or nowhere."""
NOT_DEPLOYED: DeployTo = "none"
DEPLOY_TO_ANNOTATION = "argotune.dev/deploy-to"
"""Annotation of a Workflow: where it deploys."""
ADAPTER = "argotune.dev/adapter"
SUBMITTER_ANNOTATION = "argotune.dev/submitted-by"
"""Annotation of a Workflow: the person's name at the API server, which `argotune submit` notes."""
WORKSPACE_UID = "argotune.dev/workspace-uid"
"""Annotation of a Workflow of the operator's, of its CronWorkflow, and of the service that it
deploys: the UID of the applied Workspace whose they are."""
SERVES = "argotune.dev/serves"
"""What a service without training serves, for people; empty of others."""
_SETTINGS = "argotune.dev/service-settings"
_HISTORY = "argotune.dev/version-history"
_REJECTIONS = "argotune.dev/rejected-adapters"
_JOINED = "joined.argotune.dev/"
_LONGEST_HISTORY = 100
_NAMES = {
    "adapter": ADAPTER,
    "version": "argotune.dev/version",
    "previous": "argotune.dev/previous-adapter",
    "dataset_digest": "argotune.dev/dataset-digest",
    "serves": SERVES,
}
_RUN = "argotune.dev/deployed-by-run"
_EVENT_NAMES = {
    "time": "argotune.dev/deployed-at",
    "person": "argotune.dev/deployed-by",
    "run": _RUN,
    "approved_by": "argotune.dev/approved-by",
}
"""Field -> annotation."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """When a version went into service, and by whom; what is not known is empty."""

    time: str = ""
    """RFC 3339."""
    person: str = ""
    """Who began the Workflow, as Argo's server or `argotune submit` recorded it."""
    run: str = ""
    """The Workflow whose step deploy did it."""
    approved_by: str = ""
    """Who approved the adapter, where an approval was required; for people to read."""


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
    serves: str = ""
    """Model and adapters of a service without training, which has no adapter of its own."""
    workspace_uid: str = ""
    """UID of the applied Workspace that has put it into service first; of a service of a person's
    runs empty."""
    event: Event = Event()
    """When and by whom it was put into service."""
    history: Mapping[str, Event] = field(default_factory=dict)
    """Tag vN -> when that version went into service the last time."""
    rejected: Mapping[str, Event] = field(default_factory=dict)
    """sha256:HEX of an adapter that a person rejected, or nobody approved in time -> when, and who;
    for people to read."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Flags of step deploy that another adapter of this service gets too."""

    def annotations(self) -> dict[str, str]:
        """Write it as annotations; without a Workspace, that which is noted stays."""
        return {
            **{name: getattr(self, key) for key, name in _NAMES.items()},
            **({WORKSPACE_UID: self.workspace_uid} if self.workspace_uid else {}),
            **{name: getattr(self.event, key) for key, name in _EVENT_NAMES.items()},
            _SETTINGS: json.dumps(dict(self.settings), sort_keys=True),
            _HISTORY: _dumped(self.history),
            _REJECTIONS: _dumped(self.rejected),
        }

    def rejections_with(self, digest: str, event: Event) -> dict[str, str]:
        """Write the annotation with one more rejected adapter, and no other annotation."""
        others = {key: each for key, each in self.rejected.items() if key != digest}
        return {_REJECTIONS: _dumped({**others, digest: event})}

    def after(self, before: InService | None) -> InService:
        """Return it with what follows from what was known before.

        The adapter before is the one that the tags name, or without tags the one that was known;
        whoever repeats a deploy keeps it. A run of a person leaves the service with its Workspace.
        """
        history = dict(before.history) if before is not None else {}
        if self.version:
            history.pop(self.version, None)
            history[self.version] = self.event
        if before is None:
            return replace(self, history=history)
        rejected = self.rejected or before.rejected
        is_other = before.adapter != self.adapter
        known = before.adapter if is_other else before.previous
        return replace(
            self,
            previous=self.previous or known,
            history=history,
            rejected=rejected,
            workspace_uid=self.workspace_uid or before.workspace_uid,
        )


def read_in_service(annotations: Mapping[str, str]) -> InService | None:
    """Read what `annotations` wrote; None where no adapter is noted.

    Then an earlier version of argotune deployed, or it is a service without training.

    Raises PermanentError if somebody edited one into something else.
    """
    if not annotations.get(ADAPTER):
        return None
    values = {key: annotations.get(name, "") for key, name in _NAMES.items()}
    event = Event(**{key: annotations.get(name, "") for key, name in _EVENT_NAMES.items()})
    settings = _object(_SETTINGS, annotations)
    if not all(isinstance(each, str) for each in settings.values()):
        raise _unreadable(_SETTINGS, annotations)
    return InService(
        **values,
        workspace_uid=annotations.get(WORKSPACE_UID, ""),
        event=event,
        settings=settings,
        history=_events(_HISTORY, annotations),
        rejected=_events(_REJECTIONS, annotations),
    )


def deployed_by_other(annotations: Mapping[str, str], workspace_uid: str) -> str:
    """Return the run that put a service into place, where it is no run of this applied Workspace.

    Empty for a service of the Workspace, and for one that has not answered yet.
    """
    if annotations.get(WORKSPACE_UID) == workspace_uid:
        return ""
    return annotations.get(_RUN, "")


def joined_annotation(name: str) -> str:
    """Return the annotation of a Deployment for an adapter of this name that joined its service."""
    return f"{_JOINED}{name}"


def joined_in(annotations: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Read who joined a service: each name with the annotations that its own Deployment would have.

    What somebody edited into something else is left out.
    """
    found = {}
    for key, text in annotations.items():
        if not key.startswith(_JOINED):
            continue
        with contextlib.suppress(ValueError, RecursionError):
            known = json.loads(text)
            if isinstance(known, dict) and all(isinstance(each, str) for each in known.values()):
                found[key.removeprefix(_JOINED)] = known
    return dict(sorted(found.items()))


def _dumped(events: Mapping[str, Event]) -> str:
    """Write the newest events as JSON."""
    newest = list(events.items())[-_LONGEST_HISTORY:]
    return json.dumps({name: asdict(event) for name, event in newest})


def _events(name: str, annotations: Mapping[str, str]) -> dict[str, Event]:
    try:
        return {key: Event(**values) for key, values in _object(name, annotations).items()}
    except TypeError as error:
        raise _unreadable(name, annotations) from error


def _object(name: str, annotations: Mapping[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(annotations.get(name, "{}"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _unreadable(name, annotations)
    return found


def _unreadable(name: str, annotations: Mapping[str, str]) -> PermanentError:
    return PermanentError(
        f"annotation {name}: {annotations[name][:60]!r} is not the JSON that deploy writes there;"
        " the next run of the workspace writes it again, once the annotation is removed"
    )
