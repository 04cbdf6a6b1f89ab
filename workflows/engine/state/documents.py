"""The documents: which of them runs, and what it may refer to."""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argotune.workflows.engine.errors import EngineError
from argotune.workflows.engine.language.govalues import any_string
from argotune.workflows.engine.model import SCHEDULED_TIME_ANNOTATION, JsonObject, copied, rfc3339

# Kubernetes makes the random ends of names from these: no vowels, so no words.
_NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MERGED_BY_NAME = frozenset({"parameters", "artifacts", "templates", "volumes"})


@dataclass(frozen=True, slots=True)
class TemplateBase:
    """Where template names are looked up: the workflow itself or a (Cluster)WorkflowTemplate."""

    scope: str
    """Argo's templateScope: `local/NAME`, `namespaced/NAME` or `cluster/NAME`."""
    templates: Mapping[str, JsonObject]

    @classmethod
    def of(cls, scope: str, spec: JsonObject) -> TemplateBase:
        """The templates of a spec, by name."""
        return cls(scope, {t.get("name", ""): t for t in spec.get("templates") or []})


@dataclass(frozen=True, slots=True)
class Catalog:
    """The objects that templates may refer to by name."""

    workflow_templates: Mapping[str, JsonObject]
    cluster_templates: Mapping[str, JsonObject]
    config_maps: Mapping[str, Mapping[str, str]]
    secrets: Mapping[str, Mapping[str, bytes]]
    secret_paths: Mapping[str, Path] = field(default_factory=dict)
    secret_values: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """Those of the caller."""

    @classmethod
    def of(
        cls,
        documents: Sequence[JsonObject],
        secret_paths: Mapping[str, Path],
        secret_values: Mapping[str, Mapping[str, str]],
    ) -> Catalog:
        """The catalog of the documents, by kind, and of the caller's Secrets."""
        given = {
            name: {key: text.encode() for key, text in values.items()}
            for name, values in secret_values.items()
        }
        return cls(
            workflow_templates=_by_name(documents, "WorkflowTemplate"),
            cluster_templates=_by_name(documents, "ClusterWorkflowTemplate"),
            config_maps={
                name: {key: any_string(value) for key, value in (found.get("data") or {}).items()}
                for name, found in _by_name(documents, "ConfigMap").items()
            },
            secrets={
                **{
                    name: _secret_data(each) for name, each in _by_name(documents, "Secret").items()
                },
                **given,
            },
            secret_paths=secret_paths,
            secret_values=given,
        )

    def template(self, name: str, *, cluster_scope: bool) -> JsonObject | None:
        """The WorkflowTemplate or ClusterWorkflowTemplate with this name, or None."""
        return (self.cluster_templates if cluster_scope else self.workflow_templates).get(name)

    def base(self, name: str, *, cluster_scope: bool) -> TemplateBase | None:
        """The templates of a WorkflowTemplate, for `templateRef`; None if it does not exist."""
        found = self.template(name, cluster_scope=cluster_scope)
        if found is None:
            return None
        scope = "cluster" if cluster_scope else "namespaced"
        return TemplateBase.of(f"{scope}/{name}", found.get("spec") or {})

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        """A Secret's values by key, from the caller or else the documents; or None.

        Values that the caller has in memory stand beside the files of its path.
        """
        found = self.secret_files(name)
        return {**self.secret_values.get(name, {}), **found} if found is not None else None

    def secret_files(self, name: str) -> Mapping[str, bytes] | None:
        """As `secret`, for a volume: what is in memory is written beside no other file."""
        path = self.secret_paths.get(name)
        if path is None:
            return self.secrets.get(name)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return {file.name: file.read_bytes() for file in files if file.is_file()}


def _by_name(documents: Sequence[JsonObject], kind: str) -> dict[str, JsonObject]:
    return {
        (document.get("metadata") or {}).get("name", ""): document
        for document in documents
        if document.get("kind") == kind
    }


def _secret_data(secret: JsonObject) -> dict[str, bytes]:
    encoded = {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
    plain = {
        key: any_string(value).encode() for key, value in (secret.get("stringData") or {}).items()
    }
    return {**encoded, **plain}


def title(document: JsonObject) -> str:
    """A document's kind and name, for messages."""
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name") or metadata.get("generateName") or "(no name)"
    return f"{document.get('kind')} {name}"


def select(documents: Sequence[JsonObject]) -> JsonObject:
    """The document to run: the Workflow, or else the CronWorkflow, or else the WorkflowTemplate.

    Raises EngineError if there is none or more than one.
    """
    for kind in ("Workflow", "CronWorkflow", "WorkflowTemplate", "ClusterWorkflowTemplate"):
        found = [document for document in documents if document.get("kind") == kind]
        if len(found) > 1:
            names = ", ".join(title(document) for document in found)
            raise EngineError([f"there are {len(found)} documents to run, expected one: {names}"])
        if found:
            return found[0]
    raise EngineError(
        ["there is nothing to run: expected a Workflow, a CronWorkflow or a WorkflowTemplate"]
    )


def to_workflow(
    document: JsonObject, *, name: str | None, namespace: str, now: float
) -> JsonObject:
    """The Workflow that Argo would create from a document, with name, uid and creation time.

    `now` is in seconds since the epoch.
    """
    source = copied(document)
    metadata = source.get("metadata") or {}
    own_name = metadata.get("name", "")
    match source["kind"]:
        case "Workflow":
            kept, spec, prefix = metadata, source.get("spec") or {}, metadata.get("generateName")
        case "CronWorkflow":
            cron = source.get("spec") or {}
            kept = dict(cron.get("workflowMetadata") or {})
            kept["annotations"] = {
                **(kept.get("annotations") or {}),
                SCHEDULED_TIME_ANNOTATION: rfc3339(now),
            }
            spec, prefix = cron.get("workflowSpec") or {}, f"{own_name}-"
            kept["generateName"] = prefix
        case kind:
            cluster_scope = kind == "ClusterWorkflowTemplate"
            label = "cluster-workflow-template" if cluster_scope else "workflow-template"
            kept = {"labels": {f"workflows.argoproj.io/{label}": own_name}}
            reference: JsonObject = {"name": own_name}
            if cluster_scope:
                reference["clusterScope"] = True
            spec, prefix = {"workflowTemplateRef": reference}, f"{own_name}-"
            kept["generateName"] = prefix
    final_name = name or kept.get("name") or f"{prefix or 'workflow-'}{_random_end()}"
    return {
        "apiVersion": source.get("apiVersion", "argoproj.io/v1alpha1"),
        "kind": "Workflow",
        "metadata": {
            **{key: kept[key] for key in ("labels", "annotations", "generateName") if key in kept},
            "name": final_name,
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": rfc3339(now),
        },
        "spec": spec,
    }


def _random_end() -> str:
    return "".join(secrets.choice(_NAME_ALPHABET) for _ in range(5))


def executed_spec(workflow: JsonObject, catalog: Catalog) -> JsonObject:
    """The spec that runs: the workflow's own over that of its workflowTemplateRef.

    Raises EngineError if the template is not in the catalog.
    """
    spec: JsonObject = workflow["spec"]
    reference = spec.get("workflowTemplateRef")
    if not reference:
        return spec
    cluster_scope = bool(reference.get("clusterScope"))
    template = catalog.template(reference.get("name", ""), cluster_scope=cluster_scope)
    if template is None:
        kind = "ClusterWorkflowTemplate" if cluster_scope else "WorkflowTemplate"
        raise EngineError(
            [
                f"spec.workflowTemplateRef: there is no {kind} {reference.get('name')!r} among "
                "the documents: add its file"
            ]
        )
    own = {key: value for key, value in spec.items() if key != "workflowTemplateRef"}
    return merge(template.get("spec") or {}, own)


def merge(below: JsonObject, above: JsonObject) -> JsonObject:
    """`below` with `above` over it: maps by field, named lists by name, other values replaced."""
    result = dict(below)
    for key, value in above.items():
        lower = result.get(key)
        if isinstance(lower, dict) and isinstance(value, dict):
            result[key] = merge(lower, value)
        elif isinstance(lower, list) and isinstance(value, list) and key in _MERGED_BY_NAME:
            result[key] = _merge_by_name(lower, value)
        else:
            result[key] = copied(value)
    return result


def _merge_by_name(below: list[Any], above: list[Any]) -> list[Any]:
    merged = {item.get("name"): item for item in below}
    for item in above:
        name = item.get("name")
        # A value given above takes the place of a valueFrom below, and the other way round.
        lower = {
            key: value
            for key, value in merged.get(name, {}).items()
            if not ({"value", "valueFrom"} & item.keys() and key in ("value", "valueFrom"))
        }
        merged[name] = merge(lower, item)
    return list(merged.values())
