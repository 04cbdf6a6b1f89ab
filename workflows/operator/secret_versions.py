"""The Secrets that a Workspace names: their versions, and the runs that failed with them.

A version is the API server's `resourceVersion`. It changes with a Secret's labels too, but says
nothing of what the Secret holds, as a digest of the content would. The versions are read by name:
a watch takes the right to list Secrets, with which all of a namespace can be read, and with an
operator of all namespaces all of the cluster.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from argotune.steps.cluster.kube import Object
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.operator.seen import Run
from argotune.workflows.workspace.installed import named_secrets
from argotune.workflows.workspace.manifests import read_rendered
from argotune.workflows.workspace.model import SERVICE_TEMPLATE, TEMPLATE
from argotune.workflows.workspace.planned import Planned, PlannedService

SECRETS = "operator.argotune.dev/secrets"
"""Annotation of a Workspace: the Secrets that its newest run began with, or that were there when
it was planned after that run."""
_FAILED = ("Failed", "Error")

Versions = Mapping[str, tuple[str, str]]
"""Setting that names a Secret -> name and version of the Secret; empty: it is missing."""


def versions_of(cluster: Cluster, planned: Planned | PlannedService) -> Versions:
    """Read the versions of the Secrets that a planned Workspace names."""
    return _read(cluster, dict(named_secrets(planned.workspace)))


def changed_versions(cluster: Cluster, noted: Versions) -> Versions:
    """Read those of the noted Secrets that have another version now."""
    now = _read(cluster, {setting: name for setting, (name, _) in noted.items()})
    return {setting: it for setting, it in now.items() if it != noted[setting]}


def noted_versions(workspace: Object) -> Versions | None:
    """Return the versions that are noted at the Workspace; None where none are, or unreadable."""
    text = (workspace["metadata"].get("annotations") or {}).get(SECRETS, "")
    try:
        found = {setting: (str(name), str(it)) for setting, (name, it) in json.loads(text).items()}
    except (TypeError, ValueError, AttributeError):
        return None
    # A person may have written it: an empty version would tell whether any Secret is there.
    return found if all(name and version for name, version in found.values()) else None


def note_of(versions: Versions) -> str:
    """Return the annotation's text."""
    return json.dumps(versions, sort_keys=True)


def missing_secrets(
    cluster: Cluster, planned: Planned | PlannedService, versions: Versions
) -> Iterator[str]:
    """Say which Secrets that the Workspace names are not there.

    Tools apply objects in any order; without its login a run would fail after the training.
    """
    for setting, (name, version) in versions.items():
        if not version:
            place = planned.workspace.place_of(setting)
            yield f"{place}: {name!r}; no Secret of this name is in namespace {cluster.namespace}"


def failed_with(run: Run | None, workspace: Object, versions: Versions | None) -> bool:
    """Whether the run failed in a step whose pod has one of the Secrets.

    So a new password begins no training again that failed for want of memory.
    """
    if run is None or run.phase not in _FAILED:
        return False
    template = SERVICE_TEMPLATE if workspace.get("tuning") is None else TEMPLATE
    failed = {name for name, phase in run.steps if phase in _FAILED}
    return any(failed & _steps_with(template, setting) for setting in versions or ())


@functools.cache
def _steps_with(template: str, setting: str) -> frozenset[str]:
    """List the template's steps whose pods mount the setting's Secret, or have variables of it."""
    spec = read_rendered(template)[0]["spec"]
    parameter = f"workflow.parameters['{setting}']"
    volumes = {each["name"] for each in spec["volumes"] if parameter in str(each.get("secret"))}
    return frozenset(
        step["name"]
        for step in spec["templates"]
        if (container := step.get("container"))
        and (parameter in str(container.get("env")) or volumes & _mounted(container))
    )


def _mounted(container: Mapping[str, Any]) -> set[str]:
    return {str(mount["name"]) for mount in container.get("volumeMounts") or []}


def _read(cluster: Cluster, names: Mapping[str, str]) -> Versions:
    found = {setting: (name, cluster.metadata("Secret", name)) for setting, name in names.items()}
    return {
        setting: (name, "" if metadata is None else str(metadata["resourceVersion"]))
        for setting, (name, metadata) in found.items()
    }
