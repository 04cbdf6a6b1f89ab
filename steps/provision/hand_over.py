"""The workspace's own service gives its GPU to the run that waits for one.

It does so only where the run then fits a node. Release gives it back, unless deploy has put the new
adapter into service by then.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from argotune.steps.cluster.errors import ApiRefusal
from argotune.steps.cluster.kube import Kube, connect
from argotune.steps.cluster.scheduling import GPU_RESOURCE
from argotune.steps.common import log
from argotune.steps.common.errors import StepError
from argotune.steps.contracts.served import MANAGED_BY, SERVICE_LABEL
from argotune.steps.contracts.service_note import NOTE, Note, merge_to, read_note, replicas_of
from argotune.steps.nodes.existing import fits_without
from argotune.steps.nodes.provider import NodeRequest, OnWait
from argotune.steps.provision.params import Params

Object = Mapping[str, Any]

_LOGGER = logging.getLogger(__name__)
_OF_GPUS = ("--gpus=", "--allow-cpu=")
_SERVER = "argotune.steps.serve"
_ADVICE = (
    "the workspace's own service has the GPU; service-during-tuning hand-over or cpu gives it to"
    " the run"
)


class HandOver:
    """Listens to why the run waits, and hears of what the service does about it."""

    def __init__(
        self, params: Params, request: NodeRequest, heard: OnWait, kube: Kube | None
    ) -> None:
        self._params, self._request, self._heard = params, request, heard
        self._kube = kube
        self._said = ""
        self._has_complained = False

    def on_wait(self, reason: str) -> None:
        """Let the service give way if that helps, and pass the reason on with what became of it."""
        if not self._said:
            self._said = self._look()
        self._heard(f"{reason}; {self._said}" if self._said else reason)

    def _look(self) -> str:
        try:
            self._kube = kube = self._kube or connect()
            return self._give_way(kube)
        except (StepError, ValueError) as error:
            if not self._has_complained:
                log.warn(_LOGGER, "service-not-handed-over", reason=error)
            self._has_complained = True
            return ""

    def _give_way(self, kube: Kube) -> str:
        """What the service does now; empty where it has no GPU that would help."""
        params = self._params
        found = kube.deployment(params.namespace, params.workspace)
        if found is None or (found["metadata"].get("labels") or {}).get(MANAGED_BY) != "argotune":
            return ""
        note = read_note(found)
        if note is not None and note.run == params.run:
            return _said(params)
        if not _has_gpus(found["spec"]["template"]) or not fits_without(
            kube, self._request, self._is_of_service
        ):
            return ""
        if params.service_during_tuning == "wait":
            return _ADVICE
        try:
            kube.change_deployment(found, *_change(found, note, params))
        except ApiRefusal as error:
            # Somebody changed it just now; the next look sees it anew.
            if error.status == 409:
                return ""
            raise
        how = params.service_during_tuning
        log.event(_LOGGER, "handed-over", service=params.workspace, during_tuning=how)
        return _said(params)

    def _is_of_service(self, pod: Object) -> bool:
        metadata = pod["metadata"]
        service = (metadata.get("labels") or {}).get(SERVICE_LABEL)
        return (metadata["namespace"], service) == (self._params.namespace, self._params.workspace)


def _has_gpus(template: Object) -> bool:
    # Of a template, unlike of a pod, the API server does not copy limits to requests.
    resources = [each.get("resources") or {} for each in template["spec"]["containers"]]
    return any(GPU_RESOURCE in (each.get("limits") or {}) for each in resources)


def _said(params: Params) -> str:
    how = "is down" if params.service_during_tuning == "hand-over" else "answers on a CPU"
    return f"service {params.workspace} gives its GPU to the run, and {how} meanwhile"


def _change(
    found: Object, before: Note | None, params: Params
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The annotations and the spec that are to be merged into the Deployment."""
    template = found["spec"]["template"]
    note = Note(
        template=before.template if before is not None else template,
        replicas=before.replicas if before is not None else replicas_of(found),
        run=params.run,
    )
    spec: dict[str, Any] = {"replicas": 0}
    if params.service_during_tuning == "cpu":
        wanted = on_cpu(template, image=params.serve_image, memory=params.cpu_memory)
        spec = {"template": merge_to(wanted, template)}
    return {NOTE: note.text()}, spec


def on_cpu(template: Object, *, image: str, memory: str) -> dict[str, Any]:
    """The pod template of a server without a GPU, on any node: on transformers, in its memory."""
    changed: dict[str, Any] = copy.deepcopy(dict(template))
    changed["spec"].pop("nodeSelector", None)
    (container,) = changed["spec"]["containers"]
    resources = container["resources"]
    container["image"] = image
    container["command"] = [*container["command"][:-1], _SERVER]
    container["args"] = [each for each in container["args"] if not each.startswith(_OF_GPUS)]
    for which in ("requests", "limits"):
        amounts = resources.get(which) or {}
        amounts.pop(GPU_RESOURCE, None)
        if "memory" in amounts:
            amounts["memory"] = memory
        if which in resources and not amounts:
            del resources[which]
    return changed
