"""What all objects of a service have in common: its name, its labels, and its owner."""

from __future__ import annotations

from typing import Any

from argotune.steps.contracts.served import MANAGED_BY, SERVICE_LABEL
from argotune.steps.deploy.params import Params

Manifest = dict[str, Any]


def metadata(params: Params) -> Manifest:
    """Name, namespace and labels; every object of a service has the service's name."""
    return {"name": params.name, "namespace": params.namespace, "labels": labels(params)}


def labels(params: Params) -> dict[str, str]:
    """The labels of every object of the service, also of its pods."""
    return {
        "app.kubernetes.io/component": "inference",
        "app.kubernetes.io/instance": params.name,
        "app.kubernetes.io/name": "argotune-serve",
        MANAGED_BY: "argotune",
        "app.kubernetes.io/part-of": "argotune",
        SERVICE_LABEL: params.name,
    }


def selector(params: Params) -> dict[str, str]:
    """The label that selects the server's pods."""
    return {SERVICE_LABEL: params.name}


def is_ours(item: Manifest) -> bool:
    """Whether argotune made the object."""
    found = item["metadata"].get("labels") or {}
    return bool(found.get(MANAGED_BY) == "argotune")


def owned_by_run(manifest: Manifest, params: Params) -> Manifest:
    """The object with an owner reference to the run's Workflow, with which it is deleted."""
    if params.run_name is None:
        return manifest
    owner = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "name": params.run_name,
        "uid": params.run_uid,
    }
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [owner]}}
