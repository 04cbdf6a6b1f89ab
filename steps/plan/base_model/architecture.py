"""From a model's config.json to its family and architecture, or to the reasons against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from argotune.presets.families import FAMILIES
from argotune.presets.schema import Architecture
from argotune.steps.contracts.model_source import CONFIG, missing_files
from argotune.steps.plan.base_model.files import ModelFiles

_CAUSAL = "ForCausalLM"
# What transformers' configuration classes have where config.json says nothing; a test compares all
# families with them.
_EVERYWHERE: Mapping[str, Any] = {
    "attention_bias": False,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
_OF_FAMILY: Mapping[str, Mapping[str, Any]] = {
    "gemma2": {"head_dim": 256, "tie_word_embeddings": True},
    "gemma3_text": {"head_dim": 256, "rope_theta": 1e6, "tie_word_embeddings": True},
    "glm4": {"attention_bias": True, "head_dim": 128, "partial_rotary_factor": 0.5},
    "phi3": {"rms_norm_eps": 1e-5},
    # Their modeling files have it without a key of the configuration.
    "qwen2": {"attention_bias": True},
    "qwen2_moe": {"attention_bias": True},
    "qwen3": {"head_dim": 128},
    "smollm3": {"rope_theta": 2e6, "tie_word_embeddings": True},
}
_SLIDING_SWITCH = "use_sliding_window"


@dataclass(frozen=True, kw_only=True)
class FoundArchitecture:
    """What a config.json says."""

    family: str
    architecture: Architecture
    left_out: tuple[str, ...]
    """Keys that it does not have, so that transformers' values were taken."""


def refusals(files: ModelFiles) -> list[str]:
    """Why a model can be tuned by no version of its numbers; empty: it may be."""
    problem = missing_files(files.names)
    if problem:
        return [problem]
    config = files.json(CONFIG)
    if config is None:
        return [f"{CONFIG} is not a JSON object"]
    return list(_refusals(config, files))


def read_architecture(files: ModelFiles) -> FoundArchitecture:
    """Read the numbers. Raises ValueError that names a missing or wrong one."""
    config = files.json(CONFIG) or {}
    family = str(config.get("model_type"))
    defaults = {**_EVERYWHERE, **_OF_FAMILY.get(family, {})}
    values, left_out = dict[str, Any](), list[str]()
    for field in msgspec.structs.fields(Architecture):
        value = _value_of(field.name, config, family)
        if value is None and field.name in defaults:
            left_out.append(field.name)
            value = defaults[field.name]
        if value is not None or not field.required:
            values[field.name] = value
    values = {name: value for name, value in values.items() if value is not None}
    try:
        architecture = msgspec.convert(values, Architecture)
    except msgspec.ValidationError as error:
        raise ValueError(f"{CONFIG}: {error}") from error
    return FoundArchitecture(
        family=family, architecture=architecture, left_out=tuple(sorted(left_out))
    )


def _refusals(config: Mapping[str, Any], files: ModelFiles) -> Iterator[str]:
    family = config.get("model_type")
    classes = [str(each) for each in config.get("architectures") or []]
    named = ", ".join(classes) or "no architecture"
    is_causal = any(each.endswith(_CAUSAL) for each in classes)
    known = ", ".join(sorted(FAMILIES))
    if family not in FAMILIES and config.get("auto_map") and is_causal:
        yield (
            f"it needs Python code of its own repository (auto_map in {CONFIG}), which argotune"
            f" never runs; what can be tuned has one of the architectures {known}"
        )
    elif not is_causal:
        yield (
            f"{named} is no causal language model of text alone ({_CAUSAL}); name one, or the text"
            " model of the same release"
        )
    elif family not in FAMILIES:
        yield (
            f"{named} (model_type {family}) is an architecture that this version cannot tune; known"
            f" are {known}"
        )
    elif config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
        yield "some of its blocks have experts and others none, which this version cannot tune"
    quantization = config.get("quantization_config")
    if quantization:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        original = files.base_model or "the 16-bit model of which it was made"
        yield (
            f"its weights are quantised already ({method or 'quantization_config'}), and QLoRA"
            f" makes its own 4 bits of 16-bit weights; name {original}"
        )


def _value_of(name: str, config: Mapping[str, Any], family: str) -> Any:
    """The value of a field of `Architecture`; None: the config does not say."""
    rope = _rope_of(config)
    match name:
        case "num_key_value_heads":
            return config.get(name) or config.get("num_attention_heads")
        case "num_experts":
            # transformers 5 writes the second.
            return config.get(name, config.get("num_local_experts"))
        case "head_dim":
            return config.get(name) or (
                None if "head_dim" in _OF_FAMILY.get(family, {}) else _computed_head_dim(config)
            )
        case "rope_theta" | "partial_rotary_factor":
            return config.get(name, rope.get(name))
        case "original_max_position_embeddings":
            # Llama's and YaRN's scalings have this key too, and one set of factors.
            kind = rope.get("rope_type") or rope.get("type")
            is_long = kind in ("longrope", "su")
            return (config.get(name) or rope.get(name)) if is_long else None
        case "sliding_window":
            window, longest = config.get(name), config.get("max_position_embeddings")
            if not isinstance(window, int) or config.get(_SLIDING_SWITCH) is False:
                return None
            return window if isinstance(longest, int) and window < longest else None
        case _:
            return config.get(name)


def _computed_head_dim(config: Mapping[str, Any]) -> int | None:
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if not isinstance(hidden, int) or not isinstance(heads, int) or not heads:
        return None
    return hidden // heads


def _rope_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rotary embedding's parameters, by transformers 5's key or an earlier one."""
    for key in ("rope_parameters", "rope_scaling"):
        found = config.get(key)
        if isinstance(found, dict):
            # Of several kinds of attention, those of the full one.
            inner = found.get("full_attention")
            return inner if isinstance(inner, dict) else found
    return {}
