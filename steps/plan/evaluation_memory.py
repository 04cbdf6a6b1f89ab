"""How many tokens the evaluation answers at once on the GPUs that tune.

It has the base as tuning has it, one chunk of logits, and in float32 the new adapter and the one in
service, or all that are measured side by side. Without gradients it needs less than tuning, but
for the keys and values of the answers to the checks, which take what is planned here of the rest.
"""

from __future__ import annotations

from argotune.presets.sizes import kept_numbers, lora_parameters
from argotune.steps.contracts.served import KEYS_AND_VALUES_SHARE
from argotune.steps.contracts.training_plan import MOST_BATCH_TOKENS
from argotune.steps.plan.choose import Job, workers
from argotune.steps.plan.hardware import Card
from argotune.steps.plan.memory import (
    BFLOAT16_BYTES,
    CONTEXT_BYTES,
    FLOAT32_BYTES,
    GB,
    logits_chunk_bytes,
    weights_bytes,
)

_ADAPTERS = 2
"""Of a run: the new one and the one in service."""


def answer_batch_tokens(job: Job, card: Card) -> int:
    """Most tokens of prompts and answers of one batch; one answer alone may have more."""
    if card.usable_gb is None:
        return MOST_BATCH_TOKENS
    architecture, family, settings = job.preset.architecture, job.preset.family, job.settings
    weights = weights_bytes(architecture, family, job.method)
    if settings.shard:
        # Its blocks are spread over the GPUs, and so are their keys and values.
        weights /= workers(settings, card)
    adapter = lora_parameters(architecture, family, job.targets, settings.r)
    adapters = FLOAT32_BYTES * (job.loaded_weights or _ADAPTERS * adapter)
    free = card.usable_gb * GB - weights - adapters - CONTEXT_BYTES
    free -= logits_chunk_bytes(architecture)
    token_bytes = BFLOAT16_BYTES * kept_numbers(architecture)
    tokens = int(KEYS_AND_VALUES_SHARE * free // token_bytes)
    return max(1, min(MOST_BATCH_TOKENS, tokens))
