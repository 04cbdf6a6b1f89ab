"""The cloud of a run, by its settings."""

from __future__ import annotations

from collections.abc import Mapping

from argotune.presets.clouds import cloud_of_node_class


def cloud_of(settings: Mapping[str, str]) -> str:
    """Return the cloud that the settings name, else the one in which the node class makes nodes.

    `settings` are texts by name, those of the installation among them; empty: they do not tell.
    """
    if settings.get("cloud"):
        return settings["cloud"]
    if settings.get("provider") != "karpenter":
        return ""
    # KIND/NAME or GROUP/KIND/NAME; the provider's settings refuse other texts.
    parts = settings.get("karpenter-node-class", "").split("/")
    return cloud_of_node_class(parts[-2]) if len(parts) > 1 else ""
