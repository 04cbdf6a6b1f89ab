"""Estimate of the peak GPU memory of a tuning run.

The formula adds what is in memory at the peak, the start of the backward pass (H: hidden size,
Q: heads x head size, I: inner size of the MLPs that compute a token):

    weights      qlora: 0.516 bytes per linear weight (NF4 with double quantization), embedding,
                 lm_head and experts in bfloat16; lora: 2 bytes per weight
    lora         16 bytes per adapter weight: float32 weight, gradient and both Adam moments
    context      0.7 GB for CUDA's context and libraries
    activations  2 (6 H + 4 Q + 5 I) bytes per token for each block whose activations are kept, 2 H
                 for each that is recomputed; at least one block is complete while its gradient is
                 computed. A family whose norms are transformers' (Layout.plain) keeps 4 H more for
                 each norm of a block; attention with a bound takes 12 bytes for each head, key and
                 one of 512 queries
    dropout, DoRA  as steps/plan/adapter_memory.py says, in lora and in activations
    logits       512 positions at a time, 10 bytes per vocabulary entry, 14 with a bound
    fragmentation  5 % of the sum

The estimate is within 10 % of 14 published figures for five models (Unsloth's table of HF +
FlashAttention 2, torchtune, LitGPT); tests/steps/plan/test_memory.py names two outliers. The
activations of a block of our own models are 14 to 31 % smaller, as
tests/steps/tune/test_kept_activations.py measures; the difference covers temporary gradients, which
the published peaks include.
"""

from __future__ import annotations

from dataclasses import dataclass

from argotune.presets.families import layout_of
from argotune.presets.schema import Architecture, Family, Method
from argotune.presets.sizes import (
    computed_width,
    embedding_parameters,
    expert_parameters,
    linear_parameters,
    query_width,
    total_parameters,
)
from argotune.steps.contracts.training_plan import Memory
from argotune.steps.plan.adapter_memory import PLAIN, AdapterExtras

NF4_BYTES = 0.516
"""4 bits, plus an 8-bit scale per 64 weights, plus a float32 scale per 256 of these scales."""
BFLOAT16_BYTES = 2
FLOAT32_BYTES = 4
LORA_BYTES = 16
CONTEXT_BYTES = 0.7e9
CHUNK_TOKENS = 512
"""Positions whose logits are in memory at a time; steps/tune/loss.py uses the same number."""
CHUNK_BYTES = 10
"""Per vocabulary entry and position of a chunk: bfloat16 logits, their float32 copy and its
gradient."""
BOUND_BYTES = 4
"""Beside these, with a bound: its derivative in float32."""
BOUNDED_QUERIES = 512
"""Queries of bounded attention at a time; steps/causal_lm/softcap.py uses the same number."""
BOUNDED_BYTES = 12
"""Per head, key and query of these: bfloat16 logits, tanh and shares, float32 softmax, mask."""
NORM_BYTES = 4
"""Per number that a norm of transformers keeps in float32."""
WHOLE_LOGITS_BYTES = 16
"""Per vocabulary entry and token in a loop that computes all logits at once."""
FRAGMENTATION = 0.05

GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Memory-relevant properties of a training loop.

    The defaults describe argotune's loop. The other values serve to check the formula against
    published figures of other loops.
    """

    micro_batch_tokens: int
    checkpointing: bool
    kept_blocks: int = 0
    """With checkpointing, the number of last blocks whose activations are kept. The backward pass
    needs these first and has freed them when it recomputes the earlier blocks."""
    shards: int = 1
    """Number of GPUs over which the frozen weights are sharded (FSDP2)."""
    whole_logits: bool = False
    """Logits of all tokens at once instead of chunks."""
    float32_embeddings: bool = False
    """Embedding and lm_head in float32, as PEFT's prepare_model_for_kbit_training casts them."""


def estimate(
    architecture: Architecture,
    family: Family,
    method: Method,
    *,
    lora_weights: int,
    loop: Loop,
    extras: AdapterExtras = PLAIN,
) -> Memory:
    """Estimate the terms of the peak memory of one GPU, decimal GB."""
    activations, logits = _per_micro_batch(
        architecture, loop, block_bytes(architecture, family) + extras.token_bytes
    )
    weights = weights_bytes(architecture, family, method)
    if loop.float32_embeddings:
        weights += BFLOAT16_BYTES * embedding_parameters(architecture)
    if loop.shards > 1:
        # Two blocks are complete at a time: the computing one, and the next, which is prefetched.
        weights = weights / loop.shards + 2 * weights / architecture.num_hidden_layers
    lora = LORA_BYTES * (lora_weights + extras.weights) + extras.passing_bytes
    before = weights + lora + CONTEXT_BYTES + activations + logits
    fragmentation = FRAGMENTATION * before
    return Memory(
        weights_gb=_gb(weights),
        lora_gb=_gb(lora),
        context_gb=_gb(CONTEXT_BYTES),
        activations_gb=_gb(activations),
        logits_gb=_gb(logits),
        fragmentation_gb=_gb(fragmentation),
        total_gb=_gb(before + fragmentation),
    )


def weights_bytes(architecture: Architecture, family: Family, method: Method) -> float:
    """Bytes of the base model's weights as the method has them."""
    if method == "lora":
        return BFLOAT16_BYTES * total_parameters(architecture, family)
    quantised = NF4_BYTES * linear_parameters(architecture, family)
    whole = embedding_parameters(architecture) + expert_parameters(architecture)
    return quantised + BFLOAT16_BYTES * whole


def _per_micro_batch(
    architecture: Architecture, loop: Loop, token_bytes: int
) -> tuple[float, float]:
    """Bytes of activations and of logits; `token_bytes` are a whole block's per token.

    Of whole logits only what exceeds one block's activations counts, because they are freed before
    the block is recomputed.
    """
    tokens, blocks = loop.micro_batch_tokens, architecture.num_hidden_layers
    kept_blocks = loop.kept_blocks if loop.checkpointing else blocks
    block = tokens * token_bytes
    kept = tokens * BFLOAT16_BYTES * (blocks - kept_blocks) * architecture.hidden_size
    activations = kept + max(1, kept_blocks) * block + _bounded_attention(architecture, tokens)
    if not loop.whole_logits:
        return activations, logits_chunk_bytes(architecture)
    whole = tokens * WHOLE_LOGITS_BYTES * architecture.vocab_size
    return activations, whole if kept_blocks else max(0, whole - block)


def logits_chunk_bytes(architecture: Architecture) -> int:
    """Bytes of the logits of one chunk, with what their loss makes of them."""
    bound = BOUND_BYTES if architecture.final_logit_softcapping else 0
    return CHUNK_TOKENS * (CHUNK_BYTES + bound) * architecture.vocab_size


def _bounded_attention(architecture: Architecture, tokens: int) -> int:
    """Bytes of the piece of bounded attention that is computed; a document has all tokens."""
    if architecture.attn_logit_softcapping is None:
        return 0
    pairs = min(BOUNDED_QUERIES, tokens) * tokens
    return BOUNDED_BYTES * architecture.num_attention_heads * pairs


def block_bytes(architecture: Architecture, family: Family) -> int:
    """Bytes per token of the activations of one block that its backward pass needs."""
    hidden, layout = architecture.hidden_size, layout_of(family)
    numbers = 6 * hidden + 4 * query_width(architecture) + 5 * computed_width(architecture)
    norms = NORM_BYTES * layout.norms * hidden if layout.plain else 0
    return BFLOAT16_BYTES * numbers + norms


def _gb(size: float) -> float:
    return round(size / GB, 3)
