"""The node of a run, as far as the file determines it.

The warnings name settings without effect, and unexpected properties of a node that is made.
"""

from __future__ import annotations

from collections.abc import Iterator

from argotune.steps.common.fields import parse_fields
from argotune.steps.nodes.providers import PROVIDERS, ProviderSettings, provider_settings
from argotune.steps.settings.run_settings import PREFIX, SETTINGS, place_of
from argotune.workflows.workspace.fields import Fields
from argotune.workflows.workspace.model import Options, provider_of


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
