"""Estimate of the peak GPU memory of a tuning run.

The formula adds what is in memory at the peak, the start of the backward pass (H: hidden size,
Q and K: width of all queries and of all keys, I: inner size of the MLPs that compute a token):

    weights      qlora: 0.516 bytes per linear weight (NF4 with double quantization), embedding,
                 lm_head and experts in bfloat16; lora: 2 bytes per weight
    lora         18 bytes per adapter weight: float32 weight, gradient and both Adam moments, and
                 a bfloat16 copy for the backward pass
    context      0.7 GB for CUDA's context, libraries and cuBLAS's workspace; 0.3 GB for NCCL's
                 buffers where several GPUs take part
    activations  2 (4 H + 2 Q + 2 K + 3 I) bytes per token for each block whose activations are
                 kept, 2 H for each that is recomputed; at least one block is complete while its
                 gradient is computed. Norms beyond two keep 2 H more each, those of queries and
                 keys 2 (Q + K). Blocks of transformers and PEFT (Liger, compile, dropout, DoRA,
                 Layout.plain, experts) keep 2 (6 H + 4 Q + 5 I), and Layout.plain 4 H more for each
                 norm; attention with a bound takes 12 bytes for each head, key and one of 512
                 queries
    gradients    within activations: 2 (H + 2.5 I) bytes per token of one MLP's backward pass
    dropout, DoRA  as steps/plan/adapter_memory.py says, in lora and in activations
    logits       512 positions at a time, 10 bytes per vocabulary entry, 14 with a bound
    fragmentation  5 % of the sum

For the loops of others, the estimate is within 10 % of 17 published figures for five models
(Unsloth's table of HF + FlashAttention 2, LLaMA-Factory, torchtune, LitGPT);
tests/steps/plan/test_memory.py names two outliers. What our own blocks keep, and the peak of a
whole pack, tests/steps/plan/test_counted_memory.py counts on tensors without numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from argotune.presets.families import layout_of
from argotune.presets.schema import Architecture, Family, Method
from argotune.presets.sizes import (
    computed_width,
    embedding_parameters,
    expert_parameters,
    key_width,
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
LORA_BYTES = 18
CONTEXT_BYTES = 0.7e9
NCCL_BYTES = 0.3e9
"""32 channels of 10 MB: NCCL_BUFFSIZE's 4 MiB, and what its protocols for small messages take."""
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
    processes: int = 1
    """Number of GPUs that take part in a step."""
    shards: int = 1
    """Number of GPUs over which the frozen weights are sharded (FSDP2)."""
    plain_blocks: bool = False
    """Blocks of transformers in the place of those of steps/tune/blocks.py and lora.py."""
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
    block = block_bytes(architecture, family, plain=loop.plain_blocks) + extras.token_bytes
    activations, logits = _per_micro_batch(architecture, loop, block)
    weights = weights_bytes(architecture, family, method)
    if loop.float32_embeddings:
        weights += BFLOAT16_BYTES * embedding_parameters(architecture)
    if loop.shards > 1:
        # Two blocks are complete at a time: the computing one, and the next, which is prefetched.
        weights = weights / loop.shards + 2 * weights / architecture.num_hidden_layers
    lora = LORA_BYTES * (lora_weights + extras.weights) + extras.passing_bytes
    context = CONTEXT_BYTES + NCCL_BYTES * (loop.processes > 1)
    before = weights + lora + context + activations + logits
    fragmentation = FRAGMENTATION * before
    return Memory(
        weights_gb=_gb(weights),
        lora_gb=_gb(lora),
        context_gb=_gb(context),
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

    Of whole logits only what exceeds one block's activations and gradients counts, because they are
    freed before the block is recomputed.
    """
    tokens, blocks = loop.micro_batch_tokens, architecture.num_hidden_layers
    kept_blocks = loop.kept_blocks if loop.checkpointing else blocks
    block, gradients = tokens * token_bytes, tokens * gradient_bytes(architecture)
    kept = tokens * BFLOAT16_BYTES * (blocks - kept_blocks) * architecture.hidden_size
    activations = kept + max(1, kept_blocks) * block + gradients
    activations += _bounded_attention(architecture, tokens)
    if not loop.whole_logits:
        return activations, logits_chunk_bytes(architecture)
    whole = tokens * WHOLE_LOGITS_BYTES * architecture.vocab_size
    there = gradients if kept_blocks else block + gradients
    return activations, max(0, whole - there)


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


def block_bytes(architecture: Architecture, family: Family, *, plain: bool = False) -> int:
    """Bytes per token of the activations of one block that its backward pass needs.

    `plain`: of transformers' block, which the families without a faster one have in any case.
    """
    hidden, layout = architecture.hidden_size, layout_of(family)
    query, inner = query_width(architecture), computed_width(architecture)
    if plain or layout.plain or layout.experts:
        norms = NORM_BYTES * layout.norms * hidden if layout.plain else 0
        return BFLOAT16_BYTES * (6 * hidden + 4 * query + 5 * inner) + norms
    heads = query + key_width(architecture)
    normed = heads if layout.query_key_norms != "none" else 0
    numbers = (2 + layout.norms) * hidden + 2 * heads + normed + 3 * inner
    return BFLOAT16_BYTES * numbers


def gradient_bytes(architecture: Architecture) -> int:
    """Bytes per token of the gradients that are under way in a block, at most in its MLP.

    For 8192 tokens of phi-3-mini they are 0.4 GB.
    """
    numbers = architecture.hidden_size + 2.5 * computed_width(architecture)
    return int(BFLOAT16_BYTES * numbers)


def _gb(size: float) -> float:
    return round(size / GB, 3)
