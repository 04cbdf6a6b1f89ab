"""The pods of container and script templates."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

from argotune.workflows.engine.controller.context import RunContext
from argotune.workflows.engine.errors import EngineError, PodError
from argotune.workflows.engine.language.govalues import any_string, parse_duration_seconds
from argotune.workflows.engine.language.substitute import substitute
from argotune.workflows.engine.model import Node, Phase, pod_name
from argotune.workflows.engine.pods.pod import Pod, PodIdentity, PodRequest
from argotune.workflows.engine.state.load import parse_value
from argotune.workflows.engine.state.templates import Place, Prepared, own_part
from argotune.workflows.engine.state.variables import template_of

WORKFLOW_DEADLINE = "Step exceeded its deadline"
_POD_DEADLINE = "Pod was active on the node longer than the specified deadline"


def launch(run: RunContext, node: Node, prepared: Prepared, place: Place) -> None:
    """Start the node's pod, once; a run that is being stopped or overdue starts none."""
    if node.id in run.started_pods:
        return
    if run.shutdown and not place.on_exit:
        message = f"workflow shutdown with strategy: {run.shutdown}"
        run.state.mark(node, Phase.FAILED, message)
        return
    deadline, deadline_message = _deadline(run, node, prepared, place)
    if deadline is not None and deadline <= run.state.now():
        run.state.mark(node, Phase.FAILED, deadline_message)
        return
    pod = _pod(run, node, prepared, place)
    node.host_node_name = socket.gethostname()
    run.started_pods.add(node.id)
    run.start_pod(PodRequest(pod, deadline, deadline_message))


def _pod(run: RunContext, node: Node, prepared: Prepared, place: Place) -> Pod:
    name = pod_name(
        run.state.workflow_name,
        node.name,
        template_of(node) or prepared.template.get("name", ""),
    )
    identity = PodIdentity(
        node_id=node.id,
        pod_name=name,
        workflow_name=run.state.workflow_name,
        namespace=run.namespace,
        service_account=run.spec.get("serviceAccountName") or "default",
    )
    scope = run.scope({**prepared.variables, "pod.name": name})
    template = own_part(prepared.template, scope)
    volumes = [*(run.spec.get("volumes") or []), *(prepared.template.get("volumes") or [])]
    return run.pods.make(
        template,
        substitute(volumes, scope),
        identity,
        keeps_result=_uses_result(run, place),
        patch=_patch(run.spec.get("podSpecPatch"), template.get("podSpecPatch")),
    )


def _deadline(
    run: RunContext, node: Node, prepared: Prepared, place: Place
) -> tuple[float | None, str]:
    """A pod's earliest deadline in seconds since the epoch, if any, and Argo's message for it."""
    ends: list[tuple[float, str]] = []
    if (seconds := prepared.settings.get("activeDeadlineSeconds")) is not None:
        ends.append((run.state.now() + float(any_string(seconds)), _POD_DEADLINE))
    if timeout := prepared.settings.get("timeout"):
        ends.append((node.started_at + parse_duration_seconds(timeout), _POD_DEADLINE))
    if place.deadline is not None:
        ends.append((place.deadline, _POD_DEADLINE))
    if run.deadline is not None and not place.on_exit:
        ends.append((run.deadline, WORKFLOW_DEADLINE))
    return min(ends) if ends else (None, "")


def _uses_result(run: RunContext, place: Place) -> bool:
    """Whether the calling template refers to this step's `outputs.result`.

    Only then does Argo keep a container's standard output as its result.
    """
    around = run.prepared.get(place.boundary_id)
    if around is None or not place.step_name:
        return False
    if place.step_name not in around.results_used:
        kind = "tasks" if around.kind == "dag" else "steps"
        name = re.escape(place.step_name)
        pattern = rf"{kind}(\.{name}|\[['\"]{name}['\"]\])\.outputs\.result"
        text = json.dumps(around.template).replace('\\"', '"')
        around.results_used[place.step_name] = re.search(pattern, text) is not None
    return around.results_used[place.step_name]


def _patch(*texts: str | None) -> dict[str, Any]:
    """The podSpecPatches of the workflow and the template, the later over the earlier.

    Raises PodError if one is no YAML once its tags have values.
    """
    merged: dict[str, Any] = {}
    for text in texts:
        try:
            found = parse_value(text, "podSpecPatch") if text else None
        except EngineError as error:
            raise PodError(str(error)) from None
        merged.update(found or {})
    return merged
