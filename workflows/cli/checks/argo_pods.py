"""The pods of a run's steps as Argo's controller makes them of the installed template.

Argo adds two containers of its own to a step's: `init`, which brings its executor, and `wait`,
which reports the results. Their resources, and defaults of the step's own container, are settings
of the controller. A quota or a LimitRange sees all three.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from argotune.steps.cluster.kube import Object
from argotune.workflows.engine.language.substitute import Scope, substitute
from argotune.workflows.workspace import manifests

_OF_ARGO = "var-run-argo"
_TMP = "tmp-dir-argo"
_WORKFLOW = "argotune-doctor"
# Of a template, what shapes its pod; of its container, what only the process reads.
_OF_POD = ("serviceAccountName", "automountServiceAccountToken", "tolerations", "podSpecPatch")
_TEXTS = ("args", "command", "env")


@dataclass(frozen=True, kw_only=True)
class Argo:
    """What the controller adds to every pod."""

    executor_image: str = "quay.io/argoproj/argoexec:latest"
    executor: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the containers `init` and `wait`: resources, securityContext."""
    main_container: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of a step's own container."""


_SCORER = {"check": "scorer", "scorers": '{"scorer": {"scorer": "", "args": [], "env": []}}'}


def pods_of(
    template: Object, argo: Argo, arguments: Mapping[str, str], *, gpus: int
) -> Iterator[tuple[str, Object]]:
    """Build the pod of each step, by the step's name, as it is for a run with the arguments."""
    spec = template["spec"]
    scope = _scope(spec, arguments, gpus)
    for item in spec["templates"]:
        if "container" in item:
            yield item["name"], _pod(spec, item, argo, scope)


def _scope(spec: Object, arguments: Mapping[str, str], gpus: int) -> Scope:
    known = manifests.parameters_of({"spec": spec})
    values = {name: str(item.get("value", "")) for name, item in known.items()} | dict(arguments)
    return Scope(
        {
            "workflow.name": _WORKFLOW,
            "inputs.parameters.gpus": str(gpus),
            # Any node will do: whether one fits is not asked.
            "inputs.parameters.node-selector": "{}",
            # Any scorer will do: its pod has the same shape.
            **{f"inputs.parameters.{name}": text for name, text in _SCORER.items()},
            **{f"workflow.parameters.{name}": text for name, text in values.items()},
        }
    )


def _pod(spec: Object, template: Object, argo: Argo, scope: Scope) -> Object:
    own = copy.deepcopy({key: template.get(key) for key in _OF_POD if key in template})
    container = {key: text for key, text in template["container"].items() if key not in _TEXTS}
    item = substitute({**own, "container": container, "volumes": _volumes(spec, template)}, scope)
    metadata = substitute(template.get("metadata") or {}, scope)
    main = _merged(argo.main_container, {"name": "main", **item["container"]})
    pod: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": item.get("serviceAccountName") or spec["serviceAccountName"],
        "automountServiceAccountToken": item.get("automountServiceAccountToken", True),
        "securityContext": copy.deepcopy(spec["securityContext"]),
        "tolerations": item.get("tolerations") or [],
        "initContainers": [_executor("init", argo)],
        "containers": [_executor("wait", argo), {**main, "volumeMounts": _mounts(main)}],
        "volumes": [*item["volumes"], _empty(_OF_ARGO), _empty(_TMP)],
    }
    patch = yaml.safe_load(item["podSpecPatch"]) if item.get("podSpecPatch") else {}
    labels = spec.get("podMetadata", {}).get("labels", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{_WORKFLOW}-{template['name']}-",
            "labels": {**labels, **metadata.get("labels", {})},
            "annotations": metadata.get("annotations") or {},
        },
        "spec": _patched(pod, patch),
    }


def _executor(name: str, argo: Argo) -> Object:
    mounts = [{"name": _OF_ARGO, "mountPath": "/var/run/argo"}]
    return {"image": argo.executor_image, **argo.executor, "name": name, "volumeMounts": mounts}


def _mounts(container: Object) -> list[Object]:
    return [*container["volumeMounts"], {"name": _OF_ARGO, "mountPath": "/var/run/argo"}]


def _volumes(spec: Object, template: Object) -> list[Object]:
    """List the volumes that the step's container mounts."""
    claims = [
        {"name": name, "persistentVolumeClaim": {"claimName": f"{_WORKFLOW}-{name}"}}
        for name in (claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates") or [])
    ]
    known = [*(template.get("volumes") or []), *(spec.get("volumes") or []), *claims]
    mounted = {mount["name"] for mount in template["container"].get("volumeMounts") or []}
    return copy.deepcopy([volume for volume in known if volume["name"] in mounted])


def _empty(name: str) -> Object:
    return {"name": name, "emptyDir": {}}


def _patched(pod: Object, patch: Mapping[str, Any]) -> Object:
    """Apply a podSpecPatch: containers are merged by their names, all else by its keys."""
    named = {item["name"]: item for item in patch.get("containers", [])}
    rest = {key: value for key, value in patch.items() if key != "containers"}
    containers = [_merged(item, named.get(item["name"], {})) for item in pod["containers"]]
    return {**_merged(pod, rest), "containers": containers}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Object:
    """Merge mappings, at every depth; what `over` has wins."""
    result = {**copy.deepcopy(dict(base)), **over}
    for key in base.keys() & over.keys():
        if isinstance(base[key], Mapping) and isinstance(over[key], Mapping):
            result[key] = _merged(base[key], over[key])
    return result
