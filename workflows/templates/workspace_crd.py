"""The definition of Kaito's kind Workspace, for clusters without Kaito's own definition.

`argotune install --operator` applies it. What it refuses is refused by `argotune submit` too, with
the same words: the server says it at once, and everything else is the operator's to say.
"""

from __future__ import annotations

from typing import Any

from argotune.steps.cluster.kinds import KAITO, kind_of
from argotune.workflows.templates.manifest import Manifest, manifest
from argotune.workflows.templates.workspace_schema import fields_schema
from argotune.workflows.templates.workspace_status import status_schema
from argotune.workflows.workspace.documents import API_VERSIONS, OLDER_VERSION

NAME = "workspace-crd"
GROUP, PLURAL = KAITO, kind_of("Workspace").plural
_STORED, _OLDER = (each.partition("/")[2] for each in API_VERSIONS)
_WIDE = 1
"""Priority of the columns that `kubectl get -o wide` adds."""


def build() -> list[Manifest]:
    """Build the definition, of both versions; an object reads the same in either."""
    spec = {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {
            "kind": "Workspace",
            "listKind": "WorkspaceList",
            "singular": "workspace",
            "plural": PLURAL,
            # As in Kaito's definition.
            "shortNames": ["wk", "wks"],
            "categories": ["workspace"],
        },
        "conversion": {"strategy": "None"},
        "versions": [
            _version(_STORED),
            {**_version(_OLDER), "deprecated": True, "deprecationWarning": OLDER_VERSION},
        ],
    }
    return [
        manifest(
            "CustomResourceDefinition",
            f"{PLURAL}.{GROUP}",
            api_version="apiextensions.k8s.io/v1",
            spec=spec,
        )
    ]


def _version(name: str) -> dict[str, Any]:
    schema = fields_schema(is_older=name == _OLDER)
    schema["properties"]["status"] = status_schema()
    return {
        "name": name,
        "served": True,
        "storage": name == _STORED,
        "subresources": {"status": {}},
        "additionalPrinterColumns": _columns(),
        "schema": {"openAPIV3Schema": schema},
    }


def _columns() -> list[dict[str, Any]]:
    """Build the columns of `kubectl get workspace`; the first ones are those of Kaito."""
    return [
        _column("Instance", ".resource.instanceType"),
        _column("ResourceReady", _condition("ResourceReady")),
        _column("InferenceReady", _condition("InferenceReady")),
        _column("WorkspaceReady", _condition("WorkspaceSucceeded")),
        _column("Age", ".metadata.creationTimestamp", type="date"),
        *(
            _column(title, f".status.argotune.{field}", priority=_WIDE)
            for title, field in {
                "Progress": "progress",
                "ETA": "eta",
                "Spent": "spentUsd",
                "Version": "version",
                "Run": "run",
            }.items()
        ),
    ]


def _condition(name: str) -> str:
    return f'.status.conditions[?(@.type=="{name}")].status'


def _column(name: str, path: str, *, type: str = "string", **fields: int) -> dict[str, Any]:
    return {"name": name, "type": type, "jsonPath": path, **fields}
