"""How much memory of one GPU a tuning run takes, estimated before the GPU is bought.

The formula counts what must lie in memory at the worst moment, the start of the backward pass:

    weights      qlora: 0.516 bytes per linear weight (NF4 with double quantisation), embedding and
                 lm_head in bfloat16; lora: 2 bytes per weight
    lora         16 bytes per adapter weight: float32 weight, gradient and both Adam moments
    context      0.7 GB for CUDA's context and libraries
    activations  2 (10 H + 5 I) bytes per token for each block whose activations are kept, 2 H for
                 each that is recomputed; one block at least is whole while its gradient is made
    logits       512 positions at a time, 10 bytes per vocabulary entry
    fragmentation  5 % of all that

Against ten published figures (Unsloth's table of HF + FlashAttention 2, torchtune, LitGPT) it is
within 10 %; two outliers are named in tests/steps/plan/test_memory.py. A block of our own models
keeps 14 to 27 % less than that, counted in tests/steps/tune/test_kept_activations.py: room for
gradients that are under way, which the published peaks hold too.
"""

from __future__ import annotations

from dataclasses import dataclass

from argotune.presets.schema import Architecture, Family, Method
from argotune.presets.sizes import embedding_parameters, linear_parameters, total_parameters
from argotune.steps.contracts.training_plan import Memory

NF4_BYTES = 0.516
"""4 bits, and 8-bit quantised scales per 64 weights with their own per 256."""
BFLOAT16_BYTES = 2
LORA_BYTES = 16
CONTEXT_BYTES = 0.7e9
CHUNK_TOKENS = 512
"""Positions whose logits exist at a time; steps/tune/loss.py has the same number."""
CHUNK_BYTES = 10
"""Per vocabulary entry and position of a chunk: bfloat16 logits, their float32 copy and its
gradient."""
WHOLE_LOGITS_BYTES = 16
"""Per vocabulary entry and token in a loop that makes all logits at once."""
FRAGMENTATION = 0.05

GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Loop:
    """How a training loop spends memory. The defaults are ours; the rest is for checking the
    formula against figures that others published of their loops."""

    micro_batch_tokens: int
    checkpointing: bool
    kept_blocks: int = 0
    """With checkpointing, the last blocks whose activations are kept all the same: they are needed
    first, and gone when the blocks before them are recomputed."""
    shards: int = 1
    """GPUs that share the frozen weights out among them (FSDP2)."""
    whole_logits: bool = False
    """Logits of all tokens at once instead of chunks."""
    float32_embeddings: bool = False
    """peft's prepare_model_for_kbit_training casts embedding and lm_head up."""


def estimate(
    architecture: Architecture, family: Family, method: Method, *, lora_weights: int, loop: Loop
) -> Memory:
    """The terms of the peak, decimal GB of one GPU."""
    activations, logits = _per_micro_batch(architecture, loop)
    weights = _weights(architecture, family, method)
    if loop.float32_embeddings:
        weights += BFLOAT16_BYTES * embedding_parameters(architecture)
    if loop.shards > 1:
        # Two blocks are whole at a time: the one that computes, and the next on its way.
        weights = weights / loop.shards + 2 * weights / architecture.num_hidden_layers
    lora = LORA_BYTES * lora_weights
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


def _weights(architecture: Architecture, family: Family, method: Method) -> float:
    if method == "lora":
        return BFLOAT16_BYTES * total_parameters(architecture, family)
    quantised = NF4_BYTES * linear_parameters(architecture, family)
    return quantised + BFLOAT16_BYTES * embedding_parameters(architecture)


def _per_micro_batch(architecture: Architecture, loop: Loop) -> tuple[float, float]:
    """Bytes of activations and of logits; whole logits are counted beyond the live block that
    is computed after they are gone."""
    tokens, blocks = loop.micro_batch_tokens, architecture.num_hidden_layers
    kept_blocks = loop.kept_blocks if loop.checkpointing else blocks
    block = tokens * block_bytes(architecture)
    kept = tokens * BFLOAT16_BYTES * (blocks - kept_blocks) * architecture.hidden_size
    activations = kept + max(1, kept_blocks) * block
    if not loop.whole_logits:
        return activations, CHUNK_TOKENS * CHUNK_BYTES * architecture.vocab_size
    whole = tokens * WHOLE_LOGITS_BYTES * architecture.vocab_size
    return activations, whole if kept_blocks else max(0, whole - block)


def block_bytes(architecture: Architecture) -> int:
    """Activations of one block that its backward pass needs, per token."""
    return BFLOAT16_BYTES * (10 * architecture.hidden_size + 5 * architecture.intermediate_size)


def _gb(size: float) -> float:
    return round(size / GB, 3)
