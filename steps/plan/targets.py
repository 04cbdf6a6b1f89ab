"""Resolve target_modules to the module names of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argotune.presets.names import nearest
from argotune.presets.schema import ModelPreset

# transformers' Phi3ForCausalLM has q, k and v in one matrix, gate and up in another. PEFT ignores
# names without a match if at least one matches, so a list of unfused names would silently train
# fewer layers.
FUSED: Mapping[str, str] = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}


def resolve_targets(
    wanted: str | Sequence[str], preset: ModelPreset, *, problems: list[str], warnings: list[str]
) -> list[str]:
    """The module names for a list of layer names or all-linear, in the model's order.

    Unfused names are replaced by fused ones with a warning; unknown names are problems.
    """
    real = preset.lora_target_modules
    if isinstance(wanted, str):
        return list(real)
    chosen: set[str] = set()
    mapped: dict[str, list[str]] = {}
    for name in wanted:
        if name in real:
            chosen.add(name)
        elif FUSED.get(name) in real:
            mapped.setdefault(FUSED[name], []).append(name)
        else:
            problems.append(_unknown(name, preset))
    if mapped:
        warnings.append(_mapping_note(mapped, preset))
    return [name for name in real if name in chosen or name in mapped]


def _unknown(name: str, preset: ModelPreset) -> str:
    found = nearest(name, preset.lora_target_modules)
    hint = f"did you mean {found}? " if found else ""
    return (
        f"training_config.LoraConfig.target_modules: {preset.name} has no linear layer {name!r}; "
        f"{hint}accepted are {', '.join(preset.lora_target_modules)}, or all-linear"
    )


def _mapping_note(mapped: Mapping[str, Sequence[str]], preset: ModelPreset) -> str:
    pairs = ", ".join(f"{', '.join(names)} -> {fused}" for fused, names in mapped.items())
    return (
        f"training_config.LoraConfig.target_modules: {preset.name} has fused layers, so these are "
        f"adapted: {pairs}"
    )
