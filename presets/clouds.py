"""Which cloud a size, a node class of Karpenter or a node of a cluster belongs to."""

from __future__ import annotations

from collections.abc import Iterable

from argotune.presets.loader import sku, sku_catalogs
from argotune.presets.names import UnknownName


def cloud_names() -> tuple[str, ...]:
    """The clouds whose sizes are known."""
    return tuple(each.cloud for each in sku_catalogs())


def cloud_of_size(name: str) -> str:
    """The cloud that has a size of this name; empty where none is known to."""
    try:
        return sku(name).cloud
    except UnknownName:
        return ""


def cloud_of_node_class(kind: str) -> str:
    """The cloud in which Karpenter makes nodes by classes of this kind; empty: not known."""
    return next((each.cloud for each in sku_catalogs() if kind in each.node_classes), "")


def cloud_of_nodes(provider_ids: Iterable[str]) -> str:
    """The cloud of the nodes with these values of `spec.providerID`.

    Empty where a node belongs to no known cloud, or the nodes belong to several.
    """
    known = {each.provider_id: each.cloud for each in sku_catalogs()}
    clouds = {known.get(text.partition("://")[0], "") for text in provider_ids}
    return clouds.pop() if len(clouds) == 1 else ""
