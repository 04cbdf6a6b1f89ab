"""The factory of pods: from a template whose tags are replaced to a Pod."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argotune.workflows.engine.errors import PodError
from argotune.workflows.engine.language.govalues import any_string
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.pods.expansion import expand
from argotune.workflows.engine.pods.inside import absolute_inside
from argotune.workflows.engine.pods.pod import (
    SCRIPT_PATH,
    TERMINATION_PATH,
    OutputFile,
    Pod,
    PodIdentity,
)
from argotune.workflows.engine.pods.volumes import VolumeStore
from argotune.workflows.engine.state.documents import Catalog


@dataclass(frozen=True, slots=True)
class PodFactory:
    """Makes the pods of one run."""

    volumes: VolumeStore
    catalog: Catalog
    pods_dir: Path
    logs_dir: Path
    default_grace_seconds: float

    def make(
        self,
        template: JsonObject,
        volumes: Sequence[JsonObject],
        identity: PodIdentity,
        *,
        keeps_result: bool,
        patch: Mapping[str, Any],
    ) -> Pod:
        """The pod of a container or script template. Raises PodError."""
        container = _patched(template.get("container") or template["script"], patch)
        directory = self.pods_dir / identity.node_id
        directory.mkdir(parents=True, exist_ok=True)
        environment = self._environment(container, identity)
        words = [*(container.get("command") or []), *(container.get("args") or [])]
        script = (template.get("script") or {}).get("source")
        if script:
            words.append(SCRIPT_PATH)
        volumes = [*volumes, *(patch.get("volumes") or [])]
        grace = patch.get("terminationGracePeriodSeconds", self.default_grace_seconds)
        return Pod(
            identity=identity,
            image=container.get("image") or "",
            command=tuple(expand(any_string(word), environment) for word in words),
            environment=environment,
            working_dir=_working_dir(container),
            directory=directory,
            log=self.logs_dir / f"{identity.node_id}.log",
            mounts=tuple(self.volumes.mounts(container, volumes, directory)),
            script=script,
            outputs=tuple(_output_files(template)),
            files=_raw_files(template),
            gpus=_gpus(container),
            keeps_result=keeps_result,
            termination_path=container.get("terminationMessagePath") or TERMINATION_PATH,
            falls_back_to_logs=(
                container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
            ),
            grace_seconds=float(any_string(grace)),
        )

    def _environment(self, container: JsonObject, identity: PodIdentity) -> dict[str, str]:
        environment = {
            "ARGO_CONTAINER_NAME": "main",
            "ARGO_NODE_ID": identity.node_id,
            "ARGO_POD_NAME": identity.pod_name,
            "ARGO_WORKFLOW_NAME": identity.workflow_name,
        }
        for source in container.get("envFrom") or []:
            environment.update(self._env_from(source))
        for variable in container.get("env") or []:
            if source := variable.get("valueFrom"):
                # As in the kubelet: what a Secret, a ConfigMap or a field holds is not expanded.
                value = self._value_from(variable["name"], source, identity)
            else:
                value = expand(any_string(variable.get("value") or ""), environment)
            if value is not None:
                environment[variable["name"]] = value
        return environment

    def _env_from(self, source: JsonObject) -> dict[str, str]:
        prefix = source.get("prefix") or ""
        if reference := source.get("configMapRef"):
            found = self.catalog.config_maps.get(reference["name"])
            label = f"configMap {reference['name']!r}"
        else:
            reference = source["secretRef"]
            found = _decode(self.catalog.secret(reference["name"]))
            label = f"secret {reference['name']!r}"
        if found is None and not reference.get("optional"):
            raise PodError(f"{label} was not found")
        return {prefix + key: value for key, value in (found or {}).items()}

    def _value_from(self, name: str, source: JsonObject, identity: PodIdentity) -> str | None:
        if reference := source.get("fieldRef"):
            return _field(reference["fieldPath"], identity)
        if reference := source.get("configMapKeyRef"):
            found = self.catalog.config_maps.get(reference["name"])
            label = f"configMap {reference['name']!r}"
        else:
            reference = source["secretKeyRef"]
            found = _decode(self.catalog.secret(reference["name"]))
            label = f"secret {reference['name']!r}"
        value = (found or {}).get(reference["key"])
        if value is None and not reference.get("optional"):
            problem = "was not found" if found is None else f"has no key {reference['key']!r}"
            raise PodError(f"env {name}: {label} {problem}")
        return value


def _decode(values: Mapping[str, bytes] | None) -> dict[str, str] | None:
    if values is None:
        return None
    return {key: value.decode(errors="replace") for key, value in values.items()}


FIELDS = frozenset(
    {
        "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
        "spec.serviceAccountName", "status.podIP", "status.hostIP",
    }
)  # fmt: skip


def _field(path: str, identity: PodIdentity) -> str:
    match path:
        case "metadata.name":
            return identity.pod_name
        case "metadata.namespace":
            return identity.namespace
        case "metadata.uid":
            return identity.node_id
        case "spec.nodeName":
            return socket.gethostname()
        case "spec.serviceAccountName":
            return identity.service_account
        case "status.podIP" | "status.hostIP":
            return "127.0.0.1"
    raise PodError(f"fieldPath {path!r} is not supported by the local engine")


def _patched(container: JsonObject, patch: Mapping[str, Any]) -> JsonObject:
    """The container as a podSpecPatch has it; Argo calls it main.

    The patch's arguments replace those of the template; mounts are added, and variables too, in the
    place of those of the same name.
    """
    for each in patch.get("containers") or []:
        if each.get("name") == "main":
            mounts = [*(container.get("volumeMounts") or []), *(each.get("volumeMounts") or [])]
            given = each.get("env") or []
            names = {variable["name"] for variable in given}
            kept = [own for own in container.get("env") or [] if own["name"] not in names]
            container = {**container, "volumeMounts": mounts, "env": [*kept, *given]}
            if each.get("args") is not None:
                container["args"] = each["args"]
    return container


def _working_dir(container: JsonObject) -> str:
    path = container.get("workingDir")
    return absolute_inside(path, "workingDir") if path else ""


def _output_files(template: JsonObject) -> list[OutputFile]:
    parameters = (template.get("outputs") or {}).get("parameters") or []
    return [
        OutputFile(
            parameter,
            absolute_inside(
                parameter["valueFrom"]["path"],
                f"outputs.parameters.{parameter['name']}.valueFrom.path",
            ),
        )
        for parameter in parameters
        if (parameter.get("valueFrom") or {}).get("path")
    ]


def _raw_files(template: JsonObject) -> dict[str, str]:
    artifacts = (template.get("inputs") or {}).get("artifacts") or []
    return {
        absolute_inside(artifact["path"], f"inputs.artifacts.{artifact['name']}.path"): artifact[
            "raw"
        ]["data"]
        for artifact in artifacts
        if artifact.get("raw") and artifact.get("path")
    }


def _gpus(container: JsonObject) -> int:
    limits = (container.get("resources") or {}).get("limits") or {}
    count = any_string(limits.get("nvidia.com/gpu", 0))
    return int(count) if count.isdigit() else 0
