"""The node that is made for a run: what the provision step would refuse, told when the file is
read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from argotune.steps.common.errors import ParamsError
from argotune.steps.provision.params import Params
from argotune.workflows.workspace.checks import names_in, skus_in
from argotune.workflows.workspace.fields import Fields
from argotune.workflows.workspace.model import PREFIX, Options

MAKING_NODES = ("aks", "karpenter")
"""Providers whose nodes come and go with a run."""
FROM_THE_INSTALLATION: Mapping[str, str] = {
    "aks": "aks-cluster-id",
    "karpenter": "karpenter-node-class",
}
"""Parameter that a provider needs, and that `argotune install` may have set."""
_OF_MADE_NODES = (
    "alternative-instance-types",
    "zones",
    "capacity-types",
    "spot-max-price-usd-per-hour",
    "node-lifetime-seconds",
)
_LIFETIME_SECONDS = Params.lifetime_seconds
_SOMETHING = 1
"""For what the plan says later."""


def check_node(fields: Fields, options: Options, instance_type: str | None) -> None:
    """Report what cannot be made, and warn of what the user may not expect."""
    fields.warnings += _without_effect(options)
    is_made = options.provider in MAKING_NODES
    if is_made or options.keep_node_seconds:
        fields.problems += _problems(options, instance_type)
    if is_made:
        fields.warnings += _warnings(options)


def _problems(options: Options, instance_type: str | None) -> Iterator[str]:
    """The provision step's own problems, by the place in the file."""
    try:
        Params(
            provider=options.provider or "existing",
            run="run",
            gpus=_SOMETHING,
            disk_gib=_SOMETHING,
            instance_type=instance_type,
            alternative_instance_types=_skus(options.alternative_instance_types),
            zones=_names(options.zones),
            capacity_types=_names(options.capacity_types or "regular"),
            spot_max_price_usd_per_hour=_number(options.spot_max_price_usd_per_hour),
            lifetime_seconds=_number(options.node_lifetime_seconds) or _LIFETIME_SECONDS,
            keep_node_seconds=_number(options.keep_node_seconds) or 0.0,
            aks_cluster_id=options.aks_cluster_id or "",
            karpenter_mode=options.karpenter_mode or "nodeclaim",
            karpenter_node_class=options.karpenter_node_class or "",
        )
    except ParamsError as error:
        for problem in error.problems:
            flag, _, said = problem.removeprefix("--").partition(": ")
            is_left_out = getattr(options, flag.replace("-", "_"), "") is None
            if flag in FROM_THE_INSTALLATION.values() and is_left_out:
                continue
            yield f"{_place(flag)}: {said}"


def _warnings(options: Options) -> Iterator[str]:
    if options.karpenter_mode == "nodepool":
        return
    if options.service_gpus != "0" and not options.service_label_selector:
        yield (
            f"{_place('service-gpus')}: the node of provider {options.provider} goes when the run "
            "ends, so the service needs a free GPU of another node; "
            f'{PREFIX}service-gpus: "0" serves on CPUs'
        )


def _without_effect(options: Options) -> Iterator[str]:
    """Annotations that another provider would read."""
    provider = options.provider or "existing"
    for field, value in vars(options).items():
        name = field.replace("_", "-")
        owner = name.partition("-")[0]
        is_of_other = owner in MAKING_NODES and owner != provider
        is_of_made = name in _OF_MADE_NODES and provider not in MAKING_NODES
        if value is not None and (is_of_other or is_of_made):
            yield f"{_place(name)}: has no effect with provider {provider}"


def _place(flag: str) -> str:
    if flag == "instance-type":
        return "resource.instanceType"
    return f"metadata.annotations.{PREFIX}{flag}"


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(names_in(text)) if text else ()


def _skus(text: str | None) -> tuple[str, ...] | None:
    return tuple(skus_in(text)) if text else None


def _number(text: str | None) -> float | None:
    return float(text) if text else None
