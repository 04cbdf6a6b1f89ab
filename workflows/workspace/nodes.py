"""The node of a run, as far as the file determines it.

The warnings name settings without effect, and unexpected properties of a node that is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from argotune.steps.common.fields import parse_fields
from argotune.steps.nodes.providers import (
    MAKING_NODES,
    PROVIDERS,
    ProviderSettings,
    provider_settings,
)
from argotune.steps.settings.run_settings import PREFIX, SETTINGS, place_of
from argotune.workflows.workspace.fields import Fields
from argotune.workflows.workspace.model import Options, provider_of


@dataclass(frozen=True, kw_only=True)
class ClusterDefaults:
    """What a cluster says of the nodes of a file that leaves them open."""

    providers: tuple[str, ...] = ()
    """Providers that make nodes, for which the namespace's installation is set up."""
    cloud: str = ""
    """Cloud of the cluster's nodes; empty: not known."""


FindClusterDefaults = Callable[[str | None, str | None], ClusterDefaults]
"""Asks the cluster, for the namespace of a file and its instance type."""
NO_CLUSTER = ClusterDefaults()


def complete(
    fields: Fields, options: Options, instance_type: str | None, defaults: ClusterDefaults
) -> dict[str, str]:
    """Return the options with provider and cloud, where the file leaves them open.

    A file that names a machine and no provider, as Kaito's do, has the one provider for which the
    installation is set up; the warnings say who brings the node.
    """
    found = dict(options)
    if instance_type is not None and "provider" not in options:
        if len(defaults.providers) == 1:
            found["provider"] = defaults.providers[0]
        fields.warnings.append(_who_brings(instance_type, defaults))
    if "cloud" not in found and defaults.cloud and "provider" not in found:
        # Of a provider that makes nodes the node class says it.
        found["cloud"] = defaults.cloud
    return found


def _who_brings(instance_type: str, defaults: ClusterDefaults) -> str:
    place = f"resource.instanceType: {instance_type}"
    if len(defaults.providers) == 1:
        return (
            f"{place}: provider {defaults.providers[0]}, for which the installation is set up, "
            f"makes the node; {PREFIX}provider: existing takes one that is there"
        )
    makers = " or ".join(defaults.providers or MAKING_NODES)
    return (
        f"{place}: no provider is named, so a node of this type must be in the cluster; "
        f"{PREFIX}provider: {makers} has one made for the run"
    )


def check_node(fields: Fields, options: Options) -> None:
    """Warn of settings of another provider, and of the consequences of a node of the run's own."""
    fields.warnings += _without_effect(options)
    fields.warnings += _warnings(options)


def provider_settings_of(options: Options) -> ProviderSettings:
    """Return the given settings of the providers; the installation may add to them."""
    names = [row.name for row in provider_settings() if row.name in options]
    return parse_fields(ProviderSettings, {name: options[name] for name in names})


def node_is_of_run(options: Options) -> bool:
    """Whether a node is made for the run alone."""
    provider = PROVIDERS.get(provider_of(options))
    return provider is not None and provider.node_is_of_run(provider_settings_of(options))


def _warnings(options: Options) -> Iterator[str]:
    needs_gpu = options.get("service-gpus") != "0" and "service-label-selector" not in options
    if node_is_of_run(options) and needs_gpu:
        yield (
            f"{place_of('service-gpus')}: the node of provider {provider_of(options)} is deleted "
            "when the run ends, so the service needs a free GPU of another node; "
            f'{PREFIX}service-gpus: "0" serves on CPUs'
        )


def _without_effect(options: Options) -> Iterator[str]:
    """List annotations that only another provider would read."""
    provider = provider_of(options)
    for name, row in SETTINGS.items():
        if name in options and row.providers and provider not in row.providers:
            yield f"{place_of(name)}: has no effect with provider {provider}"
