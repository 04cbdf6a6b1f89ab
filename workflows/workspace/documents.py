"""Reading files into one Workspace and its ConfigMaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from argotune.steps.common import strict_yaml
from argotune.workflows.workspace.fields import WorkspaceError

Texts = Sequence[tuple[str, str]]
"""Name and content of each file."""
_KINDS = "Workspace, ConfigMap, Secret and List"
API_VERSIONS = ("kaito.sh/v1beta1", "kaito.sh/v1alpha1")
OLDER_VERSION = f"{API_VERSIONS[1]} is Kaito's older version; v1beta1 reads the same"


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """The objects in the files."""

    workspace: Mapping[str, Any]
    config_maps: Sequence[Mapping[str, Any]]
    warnings: Sequence[str]


@dataclass
class _Found:
    workspaces: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    config_maps: list[Mapping[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_manifests(texts: Texts) -> Manifests:
    """Read the texts, each with the name of its file.

    Raises WorkspaceError when a text is not YAML, when it contains other objects, or when there is
    not exactly one Workspace.
    """
    found = _Found()
    for source, text in texts:
        try:
            documents = strict_yaml.load_all(text)
        except strict_yaml.YamlProblem as problem:
            found.problems.append(f"{source}: {problem}")
            continue
        for document in documents:
            _sort(document.value, f"{source}: line {document.line}", found)
    _check_count(found, [source for source, _ in texts])
    if found.problems:
        raise WorkspaceError(found.problems)
    return Manifests(
        workspace=found.workspaces[0][1],
        config_maps=found.config_maps,
        warnings=found.warnings,
    )


def _sort(value: object, where: str, found: _Found) -> None:
    if not isinstance(value, dict):
        found.problems.append(f"{where}: not a mapping; accepted are {_KINDS}")
        return
    kind, api_version = value.get("kind"), value.get("apiVersion")
    if kind is None:
        found.problems.append(f"{where}: kind: missing; accepted are {_KINDS}")
    elif kind == "Workspace":
        _check_api_version(api_version, where, found)
        found.workspaces.append((where, value))
    elif kind == "ConfigMap":
        metadata = value.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
            found.problems.append(f"{where}: metadata.name: missing; accepted is a text")
        found.config_maps.append(value)
    elif kind == "Secret":
        found.warnings.append(f"{where}: the Secret is not applied; use `kubectl apply`")
    elif kind == "List" and isinstance(value.get("items"), list):
        for item in value["items"]:
            _sort(item, where, found)
    else:
        found.problems.append(f"{where}: kind: {kind!r}; accepted are {_KINDS}")


def _check_api_version(api_version: object, where: str, found: _Found) -> None:
    if api_version not in API_VERSIONS:
        shown = "missing" if api_version is None else repr(api_version)
        found.problems.append(
            f"{where}: apiVersion: {shown}; accepted are {' and '.join(API_VERSIONS)}"
        )


def _check_count(found: _Found, sources: Sequence[str]) -> None:
    if not found.workspaces and not found.problems:
        found.problems.append(f"{', '.join(sources)}: no Workspace; one is expected")
    for where, _ in found.workspaces[1:]:
        found.problems.append(
            f"{where}: a second Workspace, the first is at {found.workspaces[0][0]}; "
            "put each into a file of its own"
        )
