"""Parameter counts of a model and its adapter, computed from the architecture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from argotune.presets.schema import Architecture, Family


def linear_layers(architecture: Architecture, family: Family) -> Mapping[str, tuple[int, int]]:
    """The linear layers of one block: module name -> (input features, output features).

    Phi-3 and Phi-4 (transformers' Phi3ForCausalLM) fuse q, k, v and gate, up.
    """
    hidden, inner = architecture.hidden_size, architecture.intermediate_size
    query = architecture.num_attention_heads * architecture.head_dim
    key = architecture.num_key_value_heads * architecture.head_dim
    if family == "phi3":
        return {
            "qkv_proj": (hidden, query + 2 * key),
            "o_proj": (query, hidden),
            "gate_up_proj": (hidden, 2 * inner),
            "down_proj": (inner, hidden),
        }
    return {
        "q_proj": (hidden, query),
        "k_proj": (hidden, key),
        "v_proj": (hidden, key),
        "o_proj": (query, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def linear_parameters(architecture: Architecture, family: Family) -> int:
    """Number of weights in the linear layers of all blocks, which 4-bit quantization shrinks."""
    block = sum(rows * columns for rows, columns in linear_layers(architecture, family).values())
    return architecture.num_hidden_layers * block


def embedding_parameters(architecture: Architecture) -> int:
    """Number of weights of the embedding and, unless tied, of lm_head."""
    matrices = 1 if architecture.tie_word_embeddings else 2
    return matrices * architecture.vocab_size * architecture.hidden_size


def total_parameters(architecture: Architecture, family: Family) -> int:
    """Number of all weights and biases of the model."""
    norms = (2 * architecture.num_hidden_layers + 1) * architecture.hidden_size
    return (
        linear_parameters(architecture, family)
        + embedding_parameters(architecture)
        + norms
        + _bias_parameters(architecture)
    )


def lora_parameters(
    architecture: Architecture, family: Family, target_modules: Iterable[str], r: int
) -> int:
    """Number of weights of a LoRA adapter of rank r on the given layers of every block.

    A layer with i inputs and o outputs has r * (i + o) of them.
    """
    layers = linear_layers(architecture, family)
    return architecture.num_hidden_layers * r * sum(sum(layers[name]) for name in target_modules)


def kept_numbers(architecture: Architecture) -> int:
    """Numbers that attention keeps of one token while it answers: keys and values of all blocks."""
    heads = architecture.num_key_value_heads * architecture.head_dim
    return 2 * architecture.num_hidden_layers * heads


def _bias_parameters(architecture: Architecture) -> int:
    if not architecture.attention_bias:
        return 0
    heads = architecture.num_attention_heads + 2 * architecture.num_key_value_heads
    return architecture.num_hidden_layers * heads * architecture.head_dim
