"""Resolve target_modules to the module names of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argotune.presets.families import layout_of
from argotune.presets.names import nearest
from argotune.presets.schema import ModelPreset
from argotune.steps.plan.readers import ROLES

_KEY = "training_config.LoraConfig.target_modules"

# Some families have q, k and v in one matrix, or gate and up. PEFT ignores names without a match
# if at least one matches, so a list of unfused names would silently train fewer layers.
FUSED: Mapping[str, str] = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}
_ATTENTION = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj"})


def resolve_targets(
    wanted: str | Sequence[str], preset: ModelPreset, *, problems: list[str], warnings: list[str]
) -> list[str]:
    """The module names for a list of layer names or a role, in the model's order.

    Unfused names are replaced by fused ones with a warning; unknown names are problems.
    """
    real = preset.lora_target_modules
    if isinstance(wanted, str):
        return _of_role(wanted, preset, problems)
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


def _of_role(role: str, preset: ModelPreset, problems: list[str]) -> list[str]:
    real = preset.lora_target_modules
    if role == "all-linear":
        return list(real)
    found = [name for name in real if (name in _ATTENTION) == (role == "attention")]
    if not found:
        problems.append(f"{_KEY}: {preset.name} has no layers for {role!r}{_experts_note(preset)}")
    return found


def _unknown(name: str, preset: ModelPreset) -> str:
    real, why = preset.lora_target_modules, _experts_note(preset)
    found = None if why else nearest(name, real)
    hint = f"did you mean {found}? " if found else ""
    roles = [role for role in ROLES if _of_role(role, preset, [])]
    accepted = ", ".join([*real, *roles[:-1]])
    return (
        f"{_KEY}: {preset.name} has no linear layer {name!r}{why}; {hint}accepted are {accepted}, "
        f"or {roles[-1]}"
    )


def _experts_note(preset: ModelPreset) -> str:
    if not layout_of(preset.family).experts:
        return ""
    return ", because its experts are no linear layers of their own, which PEFT could adapt"


def _mapping_note(mapped: Mapping[str, Sequence[str]], preset: ModelPreset) -> str:
    pairs = ", ".join(f"{', '.join(names)} -> {fused}" for fused, names in mapped.items())
    return f"{_KEY}: {preset.name} has fused layers, so these are adapted: {pairs}"
