"""Whether an installed NodePool makes the node that a run needs, when its pod waits for one.

Pure: objects in, an offer or reasons out. What a NodePool does not restrict is permitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from argotune.steps.cluster.quantities import quantity
from argotune.steps.cluster.scheduling import GPU_RESOURCE, is_tolerated
from argotune.steps.nodes.fit import Object, tolerations_for
from argotune.steps.nodes.karpenter.claim import CAPACITY_TYPE, KARPENTERS_WORDS, NODE_POOL, ZONE
from argotune.steps.nodes.labels import INSTANCE_TYPE
from argotune.steps.nodes.provider import ANY_ZONE, NodeRequest

_GPU_COUNTS = (
    "karpenter.azure.com/sku-gpu-count",
    "karpenter.k8s.aws/instance-gpu-count",
    "karpenter.k8s.gcp/instance-gpu-count",
)
_KNOWN_DOMAINS = (
    "kubernetes.io",
    "karpenter.sh",
    "karpenter.azure.com",
    "karpenter.k8s.aws",
    "karpenter.k8s.gcp",
)
"""Karpenter knows the values of these labels; a NodePool must name any other label."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The properties that make a NodePool bring the node for the run's pod."""

    pool: str
    instance_type: str | None
    """None: any that the NodePool has."""
    selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class NoOffer:
    """Why no NodePool makes the node."""

    reason: str
    """One text for each NodePool."""
    may_pass: bool
    """Whether it may pass: a limit that other runs use up now."""


@dataclass(frozen=True, kw_only=True)
class _Problem:
    text: str
    may_pass: bool = False


def offer_of(pools: Sequence[Object], request: NodeRequest) -> Offer | NoOffer:
    """Return the first NodePool's offer for the first instance type that any of them has.

    The NodePools are ordered by weight, as Karpenter orders them.
    """
    ordered = sorted(pools, key=lambda pool: (-(pool["spec"].get("weight") or 0), _name(pool)))
    texts: dict[str, dict[str, None]] = {}
    may_pass = False
    for instance_type in request.instance_types or (None,):
        for pool in ordered:
            problems = list(_problems(pool, request, instance_type))
            if not problems:
                return _offer(pool, request, instance_type)
            texts.setdefault(_name(pool), {}).update({each.text: None for each in problems})
            may_pass = may_pass or all(each.may_pass for each in problems)
    lines = [f"NodePool {name}: {', '.join(found)}" for name, found in texts.items()]
    return NoOffer(reason="; ".join(lines) or "the cluster has no NodePool", may_pass=may_pass)


def _offer(pool: Object, request: NodeRequest, instance_type: str | None) -> Offer:
    """Return what a NodePool offers for an instance type.

    A label with several permitted values stays out of the selector, which can hold only one:
    Karpenter then prefers spot, and takes what is available.
    """
    selector = {**request.labels, NODE_POOL: _name(pool)}
    if instance_type:
        selector[INSTANCE_TYPE] = instance_type
    if len(set(request.capacity_types)) == 1:
        selector[CAPACITY_TYPE] = KARPENTERS_WORDS[request.capacity_types[0]]
    if len(request.zones) == 1 and request.zones[0] != ANY_ZONE:
        selector[ZONE] = request.zones[0]
    return Offer(
        pool=_name(pool),
        instance_type=instance_type,
        selector=selector,
        tolerations=tolerations_for({"spec": _template(pool).get("spec") or {}}),
    )


def _problems(pool: Object, request: NodeRequest, instance_type: str | None) -> Iterator[_Problem]:
    yield from _state_problems(pool)
    yield from _limit_problems(pool, request.gpus)
    for taint in _template(pool)["spec"].get("taints") or []:
        if not is_tolerated(taint):
            value = f"={taint['value']}" if taint.get("value") else ""
            text = f"taint {taint['key']}{value}:{taint['effect']} is not tolerated"
            yield _Problem(text=text)
    for key in _GPU_COUNTS:
        if not any(_allows(pool, key, str(count)) for count in range(request.gpus, 17)):
            yield _Problem(text=f"its requirement {key} leaves no node with {request.gpus} GPU(s)")
    yield from _choice_problems(pool, request, instance_type)
    for key, value in request.labels.items():
        if not _allows(pool, key, value, must_name=not _is_well_known(key)):
            yield _Problem(
                text=f"its nodes do not get the label {key}={value}; add it to its template, or a "
                f"requirement {{key: {key}, operator: Exists}}"
            )


def _choice_problems(
    pool: Object, request: NodeRequest, instance_type: str | None
) -> Iterator[_Problem]:
    if instance_type and not _allows(pool, INSTANCE_TYPE, instance_type):
        yield _Problem(text=f"it does not make {instance_type}")
    if instance_type and (reason := request.too_small.get(instance_type)):
        yield _Problem(text=f"{instance_type} has {reason}")
    words = [KARPENTERS_WORDS[each] for each in request.capacity_types]
    if not any(_allows(pool, CAPACITY_TYPE, word) for word in words):
        yield _Problem(text=f"it makes no {' or '.join(words)} nodes")
    anywhere = not request.zones or ANY_ZONE in request.zones
    if not anywhere and not any(_allows(pool, ZONE, zone) for zone in request.zones):
        yield _Problem(text=f"it makes no nodes in zone {' or '.join(request.zones)}")


def _state_problems(pool: Object) -> Iterator[_Problem]:
    if pool["metadata"].get("deletionTimestamp"):
        yield _Problem(text="being deleted")
    if pool["spec"].get("replicas") is not None:
        yield _Problem(text="static (spec.replicas): it makes no node for a pod")
    conditions = (pool.get("status") or {}).get("conditions") or []
    ready = next((item for item in conditions if item["type"] == "Ready"), None)
    if ready is None:
        text = "Karpenter has not looked at it (no condition Ready); is Karpenter running?"
        yield _Problem(text=text, may_pass=True)
    elif ready["status"] != "True":
        said = ready.get("message") or ready.get("reason") or ready["status"]
        yield _Problem(text=f"not Ready ({said})", may_pass=True)


def _limit_problems(pool: Object, gpus: int) -> Iterator[_Problem]:
    used = (pool.get("status") or {}).get("resources") or {}
    for resource, limit in (pool["spec"].get("limits") or {}).items():
        more = gpus if resource == GPU_RESOURCE else 1 if resource == "nodes" else 0
        total = quantity(used.get(resource, 0)) + more
        allowed = quantity(limit)
        # Karpenter makes no further node when a limit is used up; the node's cpu and memory are
        # not known here.
        if total > allowed or (not more and total >= allowed):
            text = (
                f"its limit of {limit} {resource} leaves no room ({used.get(resource, 0)} in use)"
            )
            yield _Problem(text=text, may_pass=more <= allowed)


def _allows(pool: Object, key: str, value: str, *, must_name: bool = False) -> bool:
    """Whether nodes of the NodePool may have the label."""
    fixed = (_template(pool).get("metadata") or {}).get("labels") or {}
    if key in fixed:
        return bool(fixed[key] == value)
    rules = [rule for rule in _template(pool)["spec"]["requirements"] if rule["key"] == key]
    if not rules:
        return not must_name
    return all(_is_met(rule, value) for rule in rules)


def _is_met(rule: Mapping[str, Any], value: str) -> bool:
    operator, values = rule["operator"], rule.get("values") or []
    if operator in ("In", "NotIn"):
        return bool((value in values) == (operator == "In"))
    if operator in ("Exists", "DoesNotExist"):
        return bool(operator == "Exists")
    if not value.isdigit():
        return False
    number, bound = int(value), int(values[0])
    if operator in ("Gte", "Lte") and number == bound:
        return True
    return number > bound if operator.startswith("Gt") else number < bound


def _is_well_known(key: str) -> bool:
    domain = key.partition("/")[0] if "/" in key else ""
    return any(domain == known or domain.endswith(f".{known}") for known in _KNOWN_DOMAINS)


def _template(pool: Object) -> Mapping[str, Any]:
    template: Mapping[str, Any] = pool["spec"]["template"]
    return template


def _name(pool: Object) -> str:
    return str(pool["metadata"]["name"])
