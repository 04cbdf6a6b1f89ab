"""Loading a provider by its name, and with it the client of its cloud."""

from __future__ import annotations

import importlib
from dataclasses import fields

from argotune.steps.nodes.provider import Provider
from argotune.steps.nodes.providers import PROVIDERS, ClusterSettings, ProviderSettings


def load_provider(name: str, settings: ClusterSettings | None = None) -> Provider:
    """Load the provider of that name, for the cluster that the settings name."""
    module = importlib.import_module(f"{__package__}.{PROVIDERS[name].module}")
    made: Provider = module.provider(_whole(settings or ProviderSettings()))
    return made


def _whole(settings: ClusterSettings) -> ProviderSettings:
    if isinstance(settings, ProviderSettings):
        return settings
    return ProviderSettings(
        **{field.name: getattr(settings, field.name) for field in fields(ClusterSettings)}
    )
