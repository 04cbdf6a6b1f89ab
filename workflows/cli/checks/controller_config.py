"""The controller's ConfigMap: its settings for the pods of every run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from argotune.steps.cluster.kube import Object
from argotune.steps.common import strict_yaml
from argotune.workflows.cli.checks.controller import CONFIG_MAP, find_controller
from argotune.workflows.cli.checks.finding import Finding, info, ok, problem, unknown, warning
from argotune.workflows.cli.checks.subject import Subject

_EXECUTOR = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""Requirements of the restricted standard for a container that our pods' security context does not
set for Argo's containers:
https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
_RESTART = {"enabled": True, "maxRestarts": 3}
_INSTANCE_LABEL = "workflows.argoproj.io/controller-instanceid"


@dataclass(frozen=True, kw_only=True)
class Config:
    """The ConfigMap with its settings parsed."""

    namespace: str
    name: str
    exists: bool
    settings: Mapping[str, Any]
    nested: bool
    """Whether the settings are one text under the key `config`, which Argo still accepts."""

    @property
    def where(self) -> str:
        """NAMESPACE/NAME."""
        return f"{self.namespace}/{self.name}"

    @property
    def executor(self) -> Mapping[str, Any]:
        """The settings of Argo's own containers beside a step's."""
        return self.section("executor")

    def section(self, key: str) -> Mapping[str, Any]:
        """Return the settings under one key; empty where they are not a mapping."""
        return _mapping(self.settings.get(key))

    def command(self, key: str, value: Mapping[str, Any]) -> str:
        """Return the command that sets one key and keeps the others."""
        settings = {**self.settings, key: dict(value)}
        data = (
            {"config": yaml.safe_dump(settings, sort_keys=False)}
            if self.nested
            else {key: json.dumps(value)}
        )
        if not self.exists:
            pairs = " ".join(shlex.quote(f"--from-literal={k}={v}") for k, v in data.items())
            return f"kubectl -n {self.namespace} create configmap {self.name} {pairs}"
        patch = shlex.quote(json.dumps({"data": data}))
        return f"kubectl -n {self.namespace} patch configmap {self.name} --type merge -p {patch}"


def settings(subject: Subject) -> Iterator[Finding]:
    """Check what the controller's settings mean for runs in the namespace."""
    config = read_config(subject)
    if not isinstance(config, Config):
        yield from config
        return
    yield _executor(config)
    yield from _selection(config, subject.namespace)
    yield _restarts(config)


def _executor(config: Config) -> Finding:
    """Check whether Argo's own containers satisfy the restricted Pod Security Standard."""
    own = config.executor
    context = _mapping(own.get("securityContext"))
    lacks = _lacks(context)
    if not lacks:
        return ok(f"{config.where} lets Argo's own containers keep to the restricted standard")
    merged = {**own, "securityContext": {**context, **_EXECUTOR}}
    return problem(
        f"{config.where} sets for executor.securityContext no {' and no '.join(lacks)}: a "
        "namespace that enforces restricted refuses every pod of a run",
        "set it; the controller reads it again by itself",
        config.command("executor", merged),
    )


def _restarts(config: Config) -> Finding:
    """Check whether pods that a node refused before their start are restarted."""
    if config.section("failedPodRestart").get("enabled"):
        return ok(f"{config.where} lets evicted pods that had not begun come again")
    return info(
        f"{config.where} does not set failedPodRestart: a pod that is evicted before it begins "
        "fails its step",
        "Argo 4.0 and later can restart it",
        config.command("failedPodRestart", _RESTART),
    )


def _selection(config: Config, namespace: str) -> Iterator[Finding]:
    """Check whether the controller ignores Workflows of this namespace, or of our kind."""
    instance, only = config.settings.get("instanceID"), config.settings.get("namespace")
    if instance:
        yield problem(
            f"{config.where} has instanceID {instance}: the controller takes only Workflows with "
            f"the label {_INSTANCE_LABEL}={instance}, and argotune's have none",
            "run a controller without an instance ID for this namespace",
        )
    if only and only != namespace:
        yield problem(
            f"{config.where} has namespace {only}: the controller takes no Workflows of "
            f"{namespace}",
            "work in that namespace, or take the setting away",
        )
    restrictions = config.section("workflowRestrictions")
    if restrictions.get("templateReferencing"):
        yield info(
            f"{config.where} has templateReferencing {restrictions['templateReferencing']}: runs "
            "refer to the installed template, a Workflow that stands alone is refused"
        )


def read_config(subject: Subject) -> Config | list[Finding]:
    """Read the configuration, or say why it is unknown."""
    if not subject.has_argo:
        return []
    controller = find_controller(subject)
    namespace = controller.namespace if controller else subject.argo_namespace
    name = controller.config_map if controller else CONFIG_MAP
    found = subject.kube.get("ConfigMap", namespace, name)
    if found is None and controller is None:
        return [
            unknown(
                f"the controller's ConfigMap {namespace}/{name} is not there",
                "say with --argo-namespace where Argo's controller runs",
            )
        ]
    try:
        return _parse(namespace, name, found)
    except (AttributeError, TypeError, ValueError):
        return [
            warning(
                f"the controller's ConfigMap {namespace}/{name} cannot be read as YAML settings",
                "correct it",
                f"kubectl -n {namespace} edit configmap {name}",
            )
        ]


def _parse(namespace: str, name: str, found: Object | None) -> Config:
    data = (found or {}).get("data") or {}
    nested = "config" in data
    settings = (
        dict(strict_yaml.load(data["config"]) or {})
        if nested
        else {key: strict_yaml.load(text) for key, text in data.items()}
    )
    return Config(
        namespace=namespace,
        name=name,
        exists=found is not None,
        settings=settings,
        nested=nested,
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _lacks(context: Mapping[str, Any]) -> list[str]:
    lacks = []
    if context.get("allowPrivilegeEscalation") is not False:
        lacks.append("allowPrivilegeEscalation: false")
    if "ALL" not in (_mapping(context.get("capabilities")).get("drop") or []):
        lacks.append('capabilities.drop: ["ALL"]')
    return lacks
