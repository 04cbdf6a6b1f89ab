"""Why Karpenter deleted a claim, and what to do about it. Pure: texts in, errors out.

Karpenter deletes a claim that it cannot launch. The reason is in an event
(InsufficientCapacityError, with the cloud's own text), before that in a condition of the claim, and
since 1.1 nowhere when the node class is not ready.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from argotune.steps.common.errors import PermanentError, StepError, TransientError
from argotune.steps.nodes.errors import PlacementRefused
from argotune.steps.nodes.karpenter.node_class import NodeClass

_OF_NO_INTEREST = (
    "FailedConsistencyCheck",
    "SecurityPatchFallback",
    "TerminationGracePeriodExpiring",
    "UnregisteredTaintMissing",
)
"""Warnings about a claim that is in order, or that is being deleted."""
_PREFIX = re.compile(r"NodeClaim \S+ event: ")

Refusal = Callable[[str, NodeClass], StepError]


@dataclass(frozen=True, kw_only=True)
class _Rule:
    pattern: str
    """Regular expression that occurs in the text; case is ignored."""
    refusal: Refusal


def _no_node_class(text: str, node_class: NodeClass) -> StepError:
    return PermanentError(
        f"{node_class} ({node_class.group}) does not exist or is being deleted: {text}; name "
        "another with --karpenter-node-class"
    )


def _node_class_not_ready(text: str, node_class: NodeClass) -> StepError:
    return TransientError(
        f"{node_class} is not ready: {text}; see `kubectl describe {node_class.kind} "
        f"{node_class.name}`"
    )


def _no_right(text: str, node_class: NodeClass) -> StepError:
    return PermanentError(
        f"the cloud refuses Karpenter, whatever machine it asks for: {text}; see its role "
        f"assignments, policies and the subnet of {node_class}"
    )


def _quota_of_capacity_type(text: str, node_class: NodeClass) -> StepError:
    return PlacementRefused(f"no quota: {text}", alike=("capacity_type",))


def _quota(text: str, node_class: NodeClass) -> StepError:
    return PlacementRefused(f"no quota: {text}", alike=("capacity_type", "instance_type"))


def _no_machine(text: str, node_class: NodeClass) -> StepError:
    return PlacementRefused(text, may_pass=True)


_RULES = (
    _Rule(
        pattern=r"(NodeClassResolutionError|resolving node ?class).*(not found|terminating)"
        r"|Failed resolving NodeClass",
        refusal=_no_node_class,
    ),
    _Rule(pattern=r"NodeClassNotReady|NodeClassReadinessUnknown", refusal=_node_class_not_ready),
    _Rule(
        pattern=r"AuthorizationFailed|UnauthorizedOperation|AccessDenied|AADSTS|PERMISSION_DENIED"
        r"|RequestDisallowedByPolicy|ReadOnlyDisabledSubscription"
        r"|SubnetIsFull|InsufficientSubnetSize|InsufficientFreeAddressesInSubnet",
        refusal=_no_right,
    ),
    _Rule(
        pattern=r"LowPriorityCores|MaxSpotInstanceCountExceeded|Total Regional|GPUS_ALL_REGIONS"
        r"|regional.{0,40}quota",
        refusal=_quota_of_capacity_type,
    ),
    _Rule(pattern=r"quota|VcpuLimitExceeded", refusal=_quota),
)


def refusal_of(
    warnings: Sequence[str],
    *,
    seen: str,
    is_gone: bool,
    was_launched: bool,
    node_class: NodeClass,
) -> StepError:
    """Return the error for a claim that was deleted, or whose conditions say that it failed.

    `warnings` are its events, `seen` is the last reason of its conditions.
    """
    texts = [_PREFIX.sub("", each) for each in warnings if not each.startswith(_OF_NO_INTEREST)]
    if seen and is_gone and not texts:
        texts.append("the claim was deleted")
    if seen and not any(seen in text for text in texts):
        texts.append(f"last seen {seen}")
    said = "; ".join(dict.fromkeys(texts))
    rule = next((rule for rule in _RULES if re.search(rule.pattern, said, re.I | re.S)), None)
    if rule is not None:
        return rule.refusal(said, node_class)
    if said:
        return _no_machine(said, node_class)
    if was_launched:
        return PlacementRefused(
            "the claim was deleted when it had a machine: the cloud reclaimed a spot machine, or "
            "a person deleted the claim",
            may_pass=True,
        )
    return _node_class_not_ready("Karpenter deleted the claim and gave no reason", node_class)
