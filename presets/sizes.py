"""Parameter counts of a model and its adapter, computed from the architecture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from argotune.presets.families import layout_of
from argotune.presets.schema import Architecture, Family


def linear_layers(architecture: Architecture, family: Family) -> Mapping[str, tuple[int, int]]:
    """The linear layers of one block: module name -> (input features, output features).

    They are those that an adapter can be on: experts are none, an expert for all tokens has three.
    """
    layout, hidden = layout_of(family), architecture.hidden_size
    query, key = query_width(architecture), key_width(architecture)
    attention = {"q_proj": (hidden, query), "k_proj": (hidden, key), "v_proj": (hidden, key)}
    if layout.fused_qkv:
        attention = {"qkv_proj": (hidden, query + 2 * key)}
    inner = mlp_width(architecture)
    if not inner:
        return {**attention, "o_proj": (query, hidden)}
    gate = {"gate_proj": (hidden, inner), "up_proj": (hidden, inner)}
    if layout.fused_gate_up:
        gate = {"gate_up_proj": (hidden, 2 * inner)}
    return {**attention, "o_proj": (query, hidden), **gate, "down_proj": (inner, hidden)}


def query_width(architecture: Architecture) -> int:
    """Numbers of a token's query over all heads, which may be other than the hidden size."""
    return architecture.num_attention_heads * architecture.head_dim


def key_width(architecture: Architecture) -> int:
    """Numbers of a token's key, and of its value, over all heads."""
    return architecture.num_key_value_heads * architecture.head_dim


def mlp_width(architecture: Architecture) -> int:
    """Inner size of the MLP that computes every token; 0: only experts do."""
    if architecture.num_experts is None:
        return architecture.intermediate_size
    return architecture.shared_expert_intermediate_size or 0


def computed_width(architecture: Architecture) -> int:
    """Inner size of all MLPs that compute a token, experts included."""
    of_experts = (architecture.num_experts_per_tok or 0) * (architecture.moe_intermediate_size or 0)
    return mlp_width(architecture) + of_experts


def linear_parameters(architecture: Architecture, family: Family) -> int:
    """Number of weights in the linear layers of all blocks, which 4-bit quantization shrinks."""
    block = sum(rows * columns for rows, columns in linear_layers(architecture, family).values())
    return architecture.num_hidden_layers * block


def expert_parameters(architecture: Architecture) -> int:
    """Number of weights of all experts and of what chooses them, which stay in 16 bits."""
    if architecture.num_experts is None:
        return 0
    experts, hidden = architecture.num_experts, architecture.hidden_size
    block = experts * (3 * (architecture.moe_intermediate_size or 0) + 1) * hidden
    if architecture.shared_expert_intermediate_size is not None:
        block += hidden  # its gate
    return architecture.num_hidden_layers * block


def embedding_parameters(architecture: Architecture) -> int:
    """Number of weights of the embedding and, unless tied, of lm_head."""
    matrices = 1 if architecture.tie_word_embeddings else 2
    return matrices * architecture.vocab_size * architecture.hidden_size


def total_parameters(architecture: Architecture, family: Family) -> int:
    """Number of all weights and biases of the model."""
    return (
        linear_parameters(architecture, family)
        + expert_parameters(architecture)
        + embedding_parameters(architecture)
        + _norm_parameters(architecture, family)
        + _bias_parameters(architecture, family)
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
    """Numbers that attention keeps of one token while it answers: keys and values of all blocks.

    Blocks with a window keep theirs too: argotune's server lets none go before the answer ends.
    """
    return 2 * architecture.num_hidden_layers * key_width(architecture)


def _norm_parameters(architecture: Architecture, family: Family) -> int:
    layout = layout_of(family)
    block = layout.norms * architecture.hidden_size
    if layout.query_key_norms == "head":
        block += 2 * architecture.head_dim
    if layout.query_key_norms == "all heads":
        block += query_width(architecture) + key_width(architecture)
    return architecture.num_hidden_layers * block + architecture.hidden_size


def _bias_parameters(architecture: Architecture, family: Family) -> int:
    layers = linear_layers(architecture, family)
    attention = layout_of(family).biased if architecture.attention_bias else ()
    mlp = ("gate_proj", "up_proj", "down_proj") if architecture.mlp_bias else ()
    block = sum(layers[name][1] for name in (*attention, *mlp))
    return architecture.num_hidden_layers * block
