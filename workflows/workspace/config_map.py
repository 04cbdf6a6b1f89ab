"""config of tuning or inference: the ConfigMap beside the Workspace, or one from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from argotune.workflows.workspace.fields import Fields

CONFIG_KEY = "training_config.yaml"
"""Key of the ConfigMap of tuning."""
INFERENCE_KEY = "inference_config.yaml"
"""Key of that of inference."""

ConfigMaps = Sequence[Mapping[str, Any]]
"""Each has a name, which read_manifests checks."""
FindConfigMap = Callable[[str | None, str, str], str | None]
"""Namespace (None: the current one) and name of a ConfigMap, and a key in it -> the text there."""


def read_config_map(
    fields: Fields,
    namespace: str | None,
    config_maps: ConfigMaps,
    find: FindConfigMap | None,
    *,
    section: str = "tuning",
    key: str = CONFIG_KEY,
) -> str:
    """Return the text of the key in the ConfigMap; empty for the preset's defaults.

    `section` is tuning or inference.
    """
    path = f"{section}.config"
    wanted = fields.text(path)
    named = [each for each in config_maps if each["metadata"]["name"] == wanted]
    for name in sorted({each["metadata"]["name"] for each in config_maps} - {wanted}):
        fields.warnings.append(
            f"ConfigMap {name!r}: not used; {path} names "
            f"{'none' if wanted is None else repr(wanted)}"
        )
    if wanted is None:
        return ""
    if len(named) > 1:
        fields.problems.append(f"ConfigMap {wanted!r}: occurs {len(named)} times; keep one")
    if named:
        return _config_of(fields, named[0], namespace, key)
    text = find(namespace, wanted, key) if find is not None else None
    if text is None:
        where = "the files or the cluster" if find is not None else "the files"
        fields.problems.append(
            f"{path}: {wanted!r} is no ConfigMap in {where}; put it into the same file "
            f"after a line with ---, or leave {path} out for the preset's defaults"
        )
    return text or ""


def _config_of(
    fields: Fields, config_map: Mapping[str, Any], namespace: str | None, key: str
) -> str:
    name = config_map["metadata"]["name"]
    metadata, data = config_map["metadata"], config_map.get("data")
    own_namespace = metadata.get("namespace")
    if own_namespace is not None and namespace is not None and own_namespace != namespace:
        fields.problems.append(
            f"ConfigMap {name!r}: metadata.namespace: {own_namespace!r}; accepted is the "
            f"Workspace's, {namespace!r}"
        )
    if not isinstance(data, dict) or key not in data:
        keys = ", ".join(map(str, data)) if isinstance(data, dict) else "none"
        fields.problems.append(f"ConfigMap {name!r}: data: {keys}; accepted is {key}")
        return ""
    for other in data.keys() - {key}:
        fields.warnings.append(f"ConfigMap {name!r}: data.{other}: has no effect, as in Kaito")
    text = data[key]
    if not isinstance(text, str):
        fields.problems.append(
            f"ConfigMap {name!r}: data.{key}: {text!r}; accepted is a text, {key}: |"
        )
        return ""
    return text
