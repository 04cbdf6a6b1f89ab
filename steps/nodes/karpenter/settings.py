"""Settings of provider karpenter, and their problems. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from argotune.steps.common.setting import setting, settings_of
from argotune.steps.common.values import ValueType, reads
from argotune.steps.nodes.description import NodeNeeds, ProviderDescription
from argotune.steps.nodes.karpenter.node_class import NodeClass, claim_problems, price_problem


@dataclass(frozen=True, kw_only=True)
class KarpenterSettings:
    """How Karpenter makes the node."""

    karpenter_mode: Literal["nodeclaim", "nodepool"] = setting("nodeclaim")
    """nodeclaim: a claim of the run's own; nodepool: an installed NodePool brings the node, and
    another one when the cloud reclaims a spot machine."""
    karpenter_node_class: str = setting(
        "",
        value=ValueType(
            accepted="KIND/NAME or GROUP/KIND/NAME",
            check=reads(NodeClass.parse),
        ),
        default_meaning="the one of `argotune install`",
        decided_by="installer",
    )
    """Node class of the claim, KIND/NAME or GROUP/KIND/NAME, such as AKSNodeClass/gpu."""


def _problems(settings: KarpenterSettings, needs: NodeNeeds) -> Iterator[str]:
    if needs.spot_max_price_usd_per_hour is not None:
        yield price_problem(needs.spot_max_price_usd_per_hour)
    if _claims_nodes(settings):
        yield from claim_problems(
            settings.karpenter_node_class,
            instance_types=needs.instance_types(),
            disk_gib=needs.disk_gib,
            capacity_types=needs.capacity_types,
            zones=needs.zones,
        )


def _claims_nodes(settings: KarpenterSettings) -> bool:
    return settings.karpenter_mode == "nodeclaim"


KARPENTER = ProviderDescription(
    name="karpenter",
    summary="a node that Karpenter makes for the run",
    module="karpenter.provider",
    makes_nodes=True,
    settings=settings_of(KarpenterSettings, provider="karpenter", steps=("provision", "watch")),
    needed_setting="karpenter-node-class",
    problems=_problems,
    variant=lambda settings: "" if _claims_nodes(settings) else " in mode nodepool",
    node_is_of_run=_claims_nodes,
)
