"""Layers and parameter counts of every architecture against transformers' own models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from argotune.presets.families import FAMILIES, layout_of
from argotune.presets.schema import Architecture
from argotune.presets.sizes import linear_layers, total_parameters

SHAPE: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 80,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "vocab_size": 97,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
SHARED = {"shared_expert_intermediate_size": 56}


def variants(family: str) -> list[dict[str, Any]]:
    shape = {**SHAPE, **(EXPERTS if layout_of(family).experts else {})}
    shape |= SHARED if family == "qwen2_moe" else {}
    bias = layout_of(family).biased and family not in ("qwen2", "qwen2_moe")
    found = [{**shape, "attention_bias": family in ("qwen2", "qwen2_moe")}]
    found += [{**shape, "attention_bias": True}] if bias else []
    if family in ("llama", "granite", "smollm3"):
        found.append({**shape, "attention_bias": False, "mlp_bias": True})
    return [{**each, "tie_word_embeddings": tied} for each in found for tied in (False, True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_parameters_are_those_of_transformers(family: str) -> None:
    for shape in variants(family):
        tokens = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
        config: Any = CONFIG_MAPPING[family]
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config(**shape, **tokens))  # type: ignore[no-untyped-call]
        architecture = Architecture(**shape, rope_theta=10_000.0)
        assert model.num_parameters() == total_parameters(architecture, family)
        block = model.get_decoder().layers[1]
        layers = {
            name.rpartition(".")[2]: (layer.in_features, layer.out_features)
            for name, layer in block.named_modules()
            if isinstance(layer, torch.nn.Linear) and name != "mlp.shared_expert_gate"
        }
        assert layers == linear_layers(architecture, family)


def test_an_unknown_architecture_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'gpt2' is not an architecture .* known are gemma2, "):
        layout_of("gpt2")
