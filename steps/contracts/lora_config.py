"""What an adapter_config.json may not say where the base answers for other adapters too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BESIDE_LINEAR_LAYERS = (
    "alora_invocation_tokens",
    "layer_replication",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
)
"""Settings of LoRA for more than linear layers."""


def change_of_base(config: Mapping[str, Any]) -> str:
    """Why such an adapter cannot be served beside others; empty where it can.

    It changes the model beside its linear layers, so others could not be answered in the same step,
    and it could not be taken out again.
    """
    found = [name for name in _BESIDE_LINEAR_LAYERS if config.get(name)]
    if config.get("bias") not in (None, "none"):
        found.append("bias")
    if not found:
        return ""
    return (
        f"it changes the base model itself ({', '.join(found)} in adapter_config.json), so that it"
        " cannot be served beside others; tune one without"
    )
