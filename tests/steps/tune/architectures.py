"""Random models of every architecture, with the settings that tell one from another switched on."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from tests.steps.tune.models import VOCABULARY

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_WINDOWS = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
_OWN: dict[str, dict[str, Any]] = {
    "gemma2": {
        **_WINDOWS,
        "query_pre_attn_scalar": 9,
        "attn_logit_softcapping": 1.5,
        "final_logit_softcapping": 2.0,
    },
    "gemma3_text": {
        **_WINDOWS,
        "query_pre_attn_scalar": 9,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
    "glm4": {"attention_bias": True},
    "granite": {
        "embedding_multiplier": 12.0,
        "logits_scaling": 8.0,
        "residual_multiplier": 0.22,
        "attention_multiplier": 0.1,
    },
    "llama": {
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "ministral": _WINDOWS,
    "ministral3": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e6,
            "factor": 16.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 8,
        },
    },
    "mistral": {"sliding_window": None},
    "olmo2": {},
    "phi3": {"sliding_window": 6},
    "qwen2": {},
    "qwen2_moe": {**_EXPERTS, "shared_expert_intermediate_size": 40},
    "qwen3": {"tie_word_embeddings": True},
    "qwen3_moe": {**_EXPERTS, "norm_topk_prob": True},
    "smollm3": {"no_rope_layers": [1, 0]},
}


def random_architecture(family: str, attention: str | None = None) -> Any:
    """A model of a model_type with the same random weights each time, those of norms included."""
    torch.manual_seed(0)
    mapped: Any = CONFIG_MAPPING[family]
    model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        mapped(**_SHAPE | _OWN[family]),
        attn_implementation=attention,
        # torch's grouped product has no float64.
        experts_implementation="eager",
    )
    for name, weights in model.named_parameters():
        if weights.dim() == 1:
            torch.nn.init.normal_(weights, mean=0.0 if "bias" in name else 1.0, std=0.2)
    return model.to(torch.get_default_dtype()).eval()
