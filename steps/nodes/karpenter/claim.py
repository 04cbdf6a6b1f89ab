"""A run's NodeClaim: building its manifest, and reading its fields and conditions. Pure.

Fields and conditions are those of Karpenter's API karpenter.sh/v1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from argotune.steps.cluster.scheduling import GPU_RESOURCE
from argotune.steps.nodes.alternatives import placements
from argotune.steps.nodes.fit import Object
from argotune.steps.nodes.karpenter.node_class import NodeClass
from argotune.steps.nodes.labels import (
    INSTANCE_TYPE,
    KEPT_LABEL,
    NAMESPACE_LABEL,
    NODE_LABEL,
    RUN_LABEL,
    WORKFLOW_LABEL,
    WORKSPACE_LABEL,
)
from argotune.steps.nodes.provider import (
    NEVER,
    CapacityType,
    KeptNode,
    NodeRequest,
    Placement,
    ReleasedNode,
)

CAPACITY_TYPE = "karpenter.sh/capacity-type"
NODE_POOL = "karpenter.sh/nodepool"
ZONE = "topology.kubernetes.io/zone"
OUR_WORDS: Mapping[str, CapacityType] = {"on-demand": "regular", "spot": "spot"}
KARPENTERS_WORDS: Mapping[CapacityType, str] = {ours: word for word, ours in OUR_WORDS.items()}
"""Karpenter's names of capacity types."""

_PRICE = "argotune.dev/price-usd-per-hour"
_SINCE = "argotune.dev/since"
"""Since when the run has the node, where another run had it before it."""
_DEADLINE = "argotune.dev/deadline"
"""Until when the run may have the node, where that is before its end: another run had it before,
or may have it after, for the money of this one is spent then."""
_KEPT_AT = "argotune.dev/kept-at"
_KEPT_UNTIL = "argotune.dev/kept-until"
_TERMINATION_TIME = "karpenter.sh/nodeclaim-termination-timestamp"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_DRAIN_TIME = "10m"
"""Karpenter deletes pods that do not end within this time; without it they hold the node for
ever."""
_NOT_LOOKED_AT = ("", "AwaitingReconciliation")
_UP = ("Launched", "Registered", "Initialized")


def claim_name(run: str) -> str:
    """Return the name of a run's only claim, which another try finds and the server makes unique.

    gpu-provisioner makes an agent pool of the name, and Azure allows those 12 lower-case letters
    and digits.
    """
    return f"gpu{hashlib.sha256(run.encode()).hexdigest()[:8]}"


def name_of(request: NodeRequest) -> str:
    """Return the name of the claim that is made for a request."""
    return request.node or claim_name(request.run)


def manifest(
    request: NodeRequest, placement: Placement, node_class: NodeClass, now: datetime
) -> dict[str, Any]:
    """Build the claim for one placement; Karpenter counts its lifetime from its creation.

    It has no owner, because a Workflow lives in a namespace and cannot own an object of the
    cluster.
    """
    price = request.prices_usd_per_hour.get(placement.instance_type)
    annotations = {"karpenter.sh/do-not-disrupt": "true"}
    if price is not None:
        annotations[_PRICE] = str(price)
    deadline = request.deadline_of(placement, now)
    if deadline < request.deadline:
        annotations[_DEADLINE] = f"{deadline:{_TIME}}"
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {
            "name": name_of(request),
            "labels": {**request.labels, **_kaito_labels(request, node_class)}
            | request.identity()
            | {NODE_LABEL: name_of(request)},
            "annotations": annotations,
        },
        "spec": {
            "nodeClassRef": _reference(node_class),
            "requirements": _requirements(placement, node_class),
            "resources": {"requests": _resources(request, node_class)},
            "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
            "terminationGracePeriod": _DRAIN_TIME,
            "expireAfter": _seconds_until(request.deadline, now),
        },
    }


def _reference(node_class: NodeClass) -> dict[str, str]:
    return {"group": node_class.group, "kind": node_class.kind, "name": node_class.name}


def _seconds_until(deadline: datetime, now: datetime) -> str:
    """Format the time until the deadline in whole seconds, which `expires_at` reads back."""
    if deadline == NEVER:
        return "Never"
    return f"{max(math.floor((deadline - now).total_seconds()), 1)}s"


def _requirements(placement: Placement, node_class: NodeClass) -> list[dict[str, Any]]:
    wanted = {
        "kubernetes.io/os": "linux",
        INSTANCE_TYPE: placement.instance_type,
        CAPACITY_TYPE: KARPENTERS_WORDS[placement.capacity_type],
        ZONE: placement.zone,
        NODE_POOL: "kaito" if node_class.is_kaito else None,
    }
    return [
        {"key": key, "operator": "In", "values": [value]}
        for key, value in wanted.items()
        if value is not None
    ]


def _resources(request: NodeRequest, node_class: NodeClass) -> dict[str, str]:
    """Request the GPUs, so that the claim becomes Ready only when they can be allocated.

    Only gpu-provisioner knows the resource `storage`; upstream Karpenter would wait for it for
    ever, because no node has it.
    """
    disk = {"storage" if node_class.is_kaito else "ephemeral-storage": f"{request.disk_gib}Gi"}
    return {GPU_RESOURCE: str(request.gpus)} | (disk if request.disk_gib else {})


def _kaito_labels(request: NodeRequest, node_class: NodeClass) -> dict[str, str]:
    """Return the labels without which gpu-provisioner deletes the agent pool of a claim."""
    if not node_class.is_kaito:
        return {}
    return {
        NODE_POOL: "kaito",
        "kaito.sh/workspace": request.workspace or name_of(request),
        "kaito.sh/workspacenamespace": request.namespace or "default",
    }


def run_of(claim: Object) -> str:
    """Read the UID of the run that the claim was made for; empty where it is not argotune's."""
    return _label(claim, RUN_LABEL)


def left_by(claim: Object) -> str:
    """Read the UID of the run that left the claim to the next one; empty where a run has it."""
    return "" if run_of(claim) else _label(claim, KEPT_LABEL)


def workspace_of(claim: Object) -> tuple[str, str]:
    """Read namespace and name of the workspace."""
    return _label(claim, NAMESPACE_LABEL), _label(claim, WORKSPACE_LABEL)


def kept_until(claim: Object) -> datetime | None:
    """Read until when the claim waits for the next run; None where its annotation does not say."""
    return _time(claim, _KEPT_UNTIL)


def left_by_run(claim: Object, *, now: datetime, until: datetime) -> dict[str, Any]:
    """Return the change of metadata with which a run leaves its claim to the next run."""
    return {
        "labels": {RUN_LABEL: None, WORKFLOW_LABEL: None, KEPT_LABEL: run_of(claim)},
        "annotations": {
            _KEPT_AT: f"{now:{_TIME}}",
            _KEPT_UNTIL: f"{until:{_TIME}}",
            _DEADLINE: None,
        },
    }


def taken_by_run(claim: Object, request: NodeRequest) -> dict[str, Any]:
    """Return the change of metadata with which a run takes a claim.

    The time that the claim waited counts to that run.
    """
    since = _annotation(claim, _KEPT_AT)
    deadline = request.deadline_of(placement_of(claim), _time(claim, _KEPT_AT))
    return {
        "labels": {**request.identity(), KEPT_LABEL: None},
        "annotations": {
            _SINCE: since or None,
            _DEADLINE: f"{deadline:{_TIME}}",
            _KEPT_AT: None,
            _KEPT_UNTIL: None,
        },
    }


def differences(claim: Object, request: NodeRequest, node_class: NodeClass) -> Iterator[str]:
    """Say how a claim differs from the one that a request would make, one text each."""
    found = placement_of(claim)
    if found not in placements(request):
        yield f"{found} is none of the alternatives"
        return
    if claim["spec"]["nodeClassRef"] != _reference(node_class):
        yield f"its node class is not {node_class}"
    disk_gib = _disk_gib(claim)
    if disk_gib < request.disk_gib:
        yield f"its disk has {disk_gib} GiB, {request.disk_gib} needed"
    if missing := [key for key, value in request.labels.items() if _label(claim, key) != value]:
        yield f"it lacks the labels {', '.join(missing)}"


def _disk_gib(claim: Object) -> int:
    """Read the size of the disk that `manifest` requests, in GiB; 0 where it requests none."""
    requests = claim["spec"]["resources"]["requests"]
    text = str(requests.get("storage") or requests.get("ephemeral-storage") or "")
    number = text.removesuffix("Gi")
    return int(number) if number.isdigit() else 0


def _label(claim: Object, name: str) -> str:
    return str((claim["metadata"].get("labels") or {}).get(name, ""))


def _annotation(claim: Object, name: str) -> str:
    return str((claim["metadata"].get("annotations") or {}).get(name, ""))


def _time(claim: Object, name: str) -> datetime | None:
    """Parse the time of an annotation; None where it is malformed, because people may change it."""
    try:
        return datetime.fromisoformat(_annotation(claim, name)).astimezone(UTC)
    except ValueError:
        return None


def placement_of(claim: Object) -> Placement:
    """Read the placement that the claim requests."""
    wanted = {
        item["key"]: item["values"][0]
        for item in claim["spec"].get("requirements") or []
        if item["operator"] == "In"
    }
    return Placement(
        instance_type=wanted.get(INSTANCE_TYPE, "any machine"),
        capacity_type=OUR_WORDS.get(wanted.get(CAPACITY_TYPE, ""), "regular"),
        zone=wanted.get(ZONE),
    )


def is_going(claim: Object) -> bool:
    """Whether the claim is being deleted."""
    return "deletionTimestamp" in claim["metadata"]


def condition(claim: Object, name: str) -> Mapping[str, str]:
    """Return a condition of the claim; an empty one where it is not set."""
    found = (claim.get("status") or {}).get("conditions") or []
    empty: Mapping[str, str] = {}
    return next((item for item in found if item["type"] == name), empty)


def is_true(claim: Object, name: str) -> bool:
    """Whether a condition is True."""
    return condition(claim, name).get("status") == "True"


def reason_of(claim: Object) -> str:
    """Say why the claim has no node yet, by its first condition with a reason."""
    for name in _UP:
        item = condition(claim, name)
        if item.get("status") != "True" and item.get("reason", "") not in _NOT_LOOKED_AT:
            message = item.get("message") or item["reason"]
            said = "" if message == item["reason"] else f": {message}"
            return f"{name}: {item['reason']}{said}"
    return ""


def failed_condition(claim: Object) -> str:
    """Return the condition by which the claim will get no node; empty where none does."""
    failed = [name for name in _UP[:2] if condition(claim, name).get("status") == "False"]
    return failed[0] if failed else ""


def created_at(claim: Object) -> datetime:
    """Read when the claim was created."""
    return datetime.fromisoformat(claim["metadata"]["creationTimestamp"]).astimezone(UTC)


def expires_at(claim: Object) -> datetime | None:
    """Return when the claim expires: at its end, or earlier with the run that took it."""
    ends = [end_of(claim), _time(claim, _DEADLINE)]
    return min((each for each in ends if each is not None), default=None)


def end_of(claim: Object) -> datetime | None:
    """Return when Karpenter deletes the claim, whichever run has it, by its expireAfter."""
    text = str(claim["spec"].get("expireAfter", ""))
    seconds = text.removesuffix("s")
    if not seconds.isdigit():
        return None
    return created_at(claim) + timedelta(seconds=int(seconds))


def forced_at(claim: Object) -> str:
    """Read until when its pods may end by themselves; empty before Karpenter sets it."""
    return _annotation(claim, _TERMINATION_TIME)


def text_of(claim: Object) -> str:
    """Return kind, name and placement."""
    return f"NodeClaim {claim['metadata']['name']} ({placement_of(claim)})"


def since_of(claim: Object) -> datetime:
    """Since when the claim's run has it."""
    return _time(claim, _SINCE) or created_at(claim)


def released_node(claim: Object, now: datetime) -> ReleasedNode:
    """What a run had of the claim until now, or until it left it."""
    since, end = since_of(claim), _time(claim, _KEPT_AT) or now
    hours = max((end - since).total_seconds(), 0.0) / 3600
    price = _price_of(claim)
    return ReleasedNode(
        what=text_of(claim),
        hours=hours,
        cost_usd=None if price is None else hours * price,
        is_upper_bound=placement_of(claim).capacity_type == "spot",
    )


def kept_node(claim: Object, now: datetime) -> KeptNode | None:
    """Describe a claim that waits for the next run; None unless it waits."""
    until = kept_until(claim)
    if not left_by(claim) or is_going(claim) or until is None or until <= now:
        return None
    return KeptNode(
        used=released_node(claim, now),
        workspace="/".join(workspace_of(claim)),
        until=until,
        price_usd_per_hour=_price_of(claim),
    )


def _price_of(claim: Object) -> float | None:
    text = _annotation(claim, _PRICE)
    return float(text) if text else None
