"""Kaito's definition of the kind Workspace, as its chart brings it: its fields, and the marks of
controller-gen and Helm, written anew and without its texts."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_ANYTHING: Schema = {"x-kubernetes-preserve-unknown-fields": True}


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition, of Kaito 0.12.0's shape."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "workspaces.kaito.sh",
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {
                "controller-gen.kubebuilder.io/version": "v0.20.1",
                "meta.helm.sh/release-name": "kaito-workspace",
                "meta.helm.sh/release-namespace": "kaito-workspace",
            },
        },
        "spec": {
            "group": "kaito.sh",
            "scope": "Namespaced",
            "names": {
                "kind": "Workspace",
                "listKind": "WorkspaceList",
                "singular": "workspace",
                "plural": "workspaces",
                "shortNames": ["wk", "wks"],
                "categories": ["workspace"],
            },
            "versions": [_version("v1alpha1"), _version("v1beta1")],
        },
    }


def _version(name: str) -> Schema:
    conditions = ("ResourceReady", "InferenceReady", "JobStarted", "WorkspaceSucceeded")
    columns = {
        "Instance": ".resource.instanceType",
        **{each: f'.status.conditions[?(@.type=="{each}")].status' for each in conditions},
    }
    return {
        "name": name,
        "served": True,
        "storage": name == "v1beta1",
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": title, "type": "string", "jsonPath": path} for title, path in columns.items()
        ],
        "schema": {"openAPIV3Schema": _workspace()},
    }


def _workspace() -> Schema:
    return _object(
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata={"type": "object"},
        resource=_resource(),
        tuning=_object(
            preset=_preset(), method=_TEXT, config=_TEXT, input=_data(), output=_output()
        ),
        inference=_object(
            preset=_preset(),
            config=_TEXT,
            template=_ANYTHING,
            adapters={"type": "array", "items": _object(source=_data(), strength=_TEXT)},
        ),
        status=_object(
            conditions={"type": "array", "items": _condition()},
            workerNodes=_TEXTS,
            targetNodeCount={"type": "integer"},
            state=_TEXT,
        ),
    )


def _resource() -> Schema:
    requirement = _object(key=_TEXT, operator=_TEXT, values=_TEXTS)
    selector = _object(
        matchLabels={"type": "object", "additionalProperties": _TEXT},
        matchExpressions={"type": "array", "items": requirement},
    )
    count = {"type": "integer", "default": 1}
    found = _object(count=count, instanceType=_TEXT, labelSelector=selector, preferredNodes=_TEXTS)
    return {**found, "required": ["labelSelector"]}


def _preset() -> Schema:
    options = _object(image=_TEXT, imagePullSecrets=_TEXTS, modelAccessSecret=_TEXT)
    mode = {"type": "string", "enum": ["public", "private"], "default": "public"}
    return {**_object(name=_TEXT, accessMode=mode, presetOptions=options), "required": ["name"]}


def _data() -> Schema:
    return _object(
        name=_TEXT, urls=_TEXTS, image=_TEXT, imagePullSecrets=_TEXTS, volumeSource=_ANYTHING
    )


def _output() -> Schema:
    return _object(image=_TEXT, imagePushSecret=_TEXT, volumeSource=_ANYTHING)


def _condition() -> Schema:
    """metav1.Condition, as controller-gen writes its limits."""
    found = _object(
        type={"type": "string", "maxLength": 316},
        status={"type": "string", "enum": ["True", "False", "Unknown"]},
        reason={
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        },
        message={"type": "string", "maxLength": 32768},
        lastTransitionTime={"type": "string", "format": "date-time"},
        observedGeneration={"type": "integer", "format": "int64", "minimum": 0},
    )
    return {**found, "required": ["lastTransitionTime", "message", "reason", "status", "type"]}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}
