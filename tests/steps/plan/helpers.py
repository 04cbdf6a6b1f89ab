"""Shorthands for parameters and configs."""

from __future__ import annotations

import textwrap
from typing import Any

import msgspec

from argotune.presets.loader import model_preset
from argotune.presets.schema import ModelPreset
from argotune.presets.sizes import linear_layers, total_parameters
from argotune.steps.plan.params import Params


def params(**values: Any) -> Params:
    """Parameters of a run of preset tiny, with changes."""
    return Params(**{"name": "demo", "preset": "tiny"} | values)


def config(text: str) -> str:
    """A training config from its sections."""
    return "training_config:\n" + textwrap.indent(textwrap.dedent(text), "  ")


def mixture_of_experts() -> ModelPreset:
    """Qwen3-30B-A3B by its published sizes."""
    return variant(
        "qwen3-8b",
        "qwen3-30b-a3b",
        "qwen3_moe",
        num_hidden_layers=48,
        hidden_size=2048,
        intermediate_size=6144,
        num_key_value_heads=4,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=768,
    )


def gemma_2_9b() -> ModelPreset:
    """Gemma 2 9B by its published sizes."""
    return variant(
        "gemma-3-1b-it",
        "gemma-2-9b-it",
        "gemma2",
        num_hidden_layers=42,
        hidden_size=3584,
        intermediate_size=14336,
        num_attention_heads=16,
        num_key_value_heads=8,
        vocab_size=256000,
        sliding_window=4096,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
    )


def variant(of: str, name: str, family: str, **changes: Any) -> ModelPreset:
    """A preset with another architecture and all that follows from it."""
    preset = model_preset(of)
    architecture = msgspec.structs.replace(preset.architecture, **changes)
    return msgspec.structs.replace(
        preset,
        name=name,
        family=family,
        architecture=architecture,
        parameters=total_parameters(architecture, family),
        lora_target_modules=list(linear_layers(architecture, family)),
    )
