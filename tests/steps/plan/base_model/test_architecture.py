from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import AutoConfig

from argotune.presets.families import FAMILIES
from argotune.presets.schema import Architecture
from argotune.steps.plan.base_model.architecture import read_architecture
from argotune.steps.plan.base_model.files import ModelFiles
from tests.fakes.hub_models import LLAMA

SIZES = {
    "hidden_size": 96,
    "intermediate_size": 200,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "vocab_size": 1000,
    "max_position_embeddings": 6000,
}
EXPERTS = {"num_experts": 12, "num_experts_per_tok": 3, "moe_intermediate_size": 72}


def read(config: dict[str, Any]) -> Architecture:
    files = ModelFiles(
        name="acme/own",
        repository="acme/own",
        revision="0" * 40,
        source="hub",
        names=frozenset(),
        contents={"config.json": json.dumps(config).encode()},
        license="MIT",
        gated=False,
        stored_numbers=None,
    )
    return read_architecture(files).architecture


def rope_of(config: Any) -> dict[str, Any]:
    rope: dict[str, Any] = config.rope_parameters
    return rope.get("full_attention", rope)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_config_leaves_out_is_what_transformers_has(family: str) -> None:
    experts = EXPERTS if FAMILIES[family].experts else {}
    config = AutoConfig.for_model(family, **SIZES, **experts)
    # What save_pretrained writes: only what differs from the class.
    found = read({**config.to_diff_dict(), "model_type": family})
    computed = config.hidden_size // config.num_attention_heads
    assert found.head_dim == (getattr(config, "head_dim", None) or computed)
    assert found.tie_word_embeddings == config.tie_word_embeddings
    assert found.rms_norm_eps == config.rms_norm_eps
    assert found.rope_theta == rope_of(config)["rope_theta"]
    assert found.partial_rotary_factor == rope_of(config).get("partial_rotary_factor", 1.0)
    # Qwen2's modeling files have a bias without a key.
    assert found.attention_bias == getattr(config, "attention_bias", family.startswith("qwen2"))
    for key, size in {**SIZES, **experts}.items():
        assert getattr(found, key) == size


def test_a_window_counts_where_it_is_used_and_below_the_context() -> None:
    window = {"sliding_window": 128}
    assert read({**LLAMA, **window}).sliding_window == 128
    assert read({**LLAMA, **window, "use_sliding_window": False}).sliding_window is None
    assert read({**LLAMA, "sliding_window": 512}).sliding_window is None


@pytest.mark.parametrize("kind", ["type", "rope_type"])
def test_only_longrope_has_an_original_length(kind: str) -> None:
    rope = {"original_max_position_embeddings": 128, "factor": 8.0}
    long = {"rope_scaling": {kind: "longrope", "short_factor": [1.0], **rope}}
    assert read({**LLAMA, **long}).original_max_position_embeddings == 128
    other = {"rope_scaling": {kind: "llama3", **rope}}
    assert read({**LLAMA, **other}).original_max_position_embeddings is None


def test_as_many_keys_as_heads_where_nothing_is_said() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    assert read(config).num_key_value_heads == 4


def test_a_number_that_is_missing_is_named() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "vocab_size"}
    with pytest.raises(ValueError, match="missing required field `vocab_size`"):
        read(config)
