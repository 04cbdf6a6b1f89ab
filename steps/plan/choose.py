"""Choose micro-batch size, gradient accumulation and activation checkpointing for a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from argotune.presets.schema import Method, ModelPreset, Sku
from argotune.presets.sizes import lora_parameters
from argotune.steps.contracts.training_plan import Memory
from argotune.steps.nodes.resources import NOTHING, Resources
from argotune.steps.plan.adapter_memory import adapter_extras
from argotune.steps.plan.hardware import Card
from argotune.steps.plan.memory import FLOAT32_BYTES, LORA_BYTES, Loop, estimate
from argotune.steps.plan.settings import Settings

GPU_MICRO_BATCH_TOKENS = 8192
"""Above this number of tokens a pass is no faster per token on the GPUs of the catalog."""
PASS_TOKENS = 128
"""Fixed cost of a pass over the weights, in tokens: the time to dequantize the weights equals the
time to compute this many tokens. A 4-bit weight is read and written as 16 bits, 2.5 bytes; a token
takes 2 operations per weight. With data-sheet rates (A10 125 TFLOPS and 600 GB/s, A100 312 and
2039, H100 NVL 835 and 3938) that is 190 to 270 tokens at the full rate, and 100 to 140 at half of
it, which training reaches."""
CPU_MICRO_BATCH_TOKENS = 1024
"""Two cores take about a second for this many tokens on preset tiny, so progress is visible."""
COMFORTABLE_SHARE = 0.9
"""The estimate is within 10 % of published figures, so 10 % of the GPU's memory is kept free."""
CPU_ACTIVATIONS_GB = 2.0
"""A machine of unknown memory recomputes activations above this estimate."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A tuning job, independent of the GPU that runs it."""

    preset: ModelPreset
    method: Method
    settings: Settings
    targets: list[str]
    skus: tuple[Sku, ...]
    """Machines that may be proposed for it."""
    resources: Resources = NOTHING
    """CPUs and memory that its pod asks for."""
    loaded_weights: int = 0
    """Weights of all adapters that are only evaluated, beside each other; 0: one is trained."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Batch and checkpointing of a job on one GPU model."""

    micro_batch_tokens: int
    accumulation_steps: int
    gradient_checkpointing: bool
    kept_blocks: int
    """Number of last blocks whose activations are kept while those of the others are recomputed."""
    memory: Memory

    def recomputed_share(self, blocks: int) -> float:
        """Share of a model's blocks whose activations are recomputed."""
        return (blocks - self.kept_blocks) / blocks if self.gradient_checkpointing else 0.0


def choose(job: Job, card: Card) -> Choice | None:
    """The fastest loop that leaves 10 % of memory free, else the smallest if it fits, else None."""
    ways = list(_ways(job, card))
    comfortable = [(loop, memory) for loop, memory in ways if _fits_well(memory, card)]
    if comfortable:
        best = min(comfortable, key=lambda way: _time(job, way[0]))
        return _choice(job.settings, card, *best)
    loop, memory = ways[-1]
    if card.usable_gb is None or memory.total_gb <= card.usable_gb:
        return _choice(job.settings, card, loop, memory)
    return None


def smallest_memory(job: Job, card: Card) -> Memory:
    """Memory of the job if each value that the user did not set has its smallest setting."""
    settings = job.settings
    checkpointing = settings.gradient_checkpointing is not False
    tokens = settings.micro_batch_tokens or settings.max_length
    loop = Loop(micro_batch_tokens=tokens, checkpointing=checkpointing)
    return estimate_job(job, _laid_out(loop, settings, card))


def estimate_job(job: Job, loop: Loop) -> Memory:
    """The memory estimate of the job with one training loop."""
    architecture, family, settings = job.preset.architecture, job.preset.family, job.settings
    return estimate(
        architecture,
        family,
        job.method,
        lora_weights=max(
            lora_parameters(architecture, family, job.targets, settings.r),
            # They have neither gradients nor moments.
            math.ceil(job.loaded_weights * FLOAT32_BYTES / LORA_BYTES),
        ),
        loop=loop,
        extras=adapter_extras(
            architecture,
            family,
            job.targets,
            dropout=settings.dropout > 0,
            dora=settings.use_dora,
        ),
    )


def _ways(job: Job, card: Card) -> Iterator[tuple[Loop, Memory]]:
    """Candidate loops, the smallest last.

    For each number of tokens there are two: one that keeps as many activations as leave some
    memory free, and one that keeps none.
    """
    for tokens in _micro_batches(job.settings, card):
        loops = [_laid_out(loop, job.settings, card) for loop in _loops(job, tokens)]
        for loop in loops:
            memory = estimate_job(job, loop)
            if _fits_well(memory, card) or loop is loops[-1]:
                yield loop, memory
                break


def _loops(job: Job, tokens: int) -> Iterator[Loop]:
    """Loops with this number of tokens, from most to fewest kept activations."""
    asked = job.settings.gradient_checkpointing
    if asked is not True:
        yield Loop(micro_batch_tokens=tokens, checkpointing=False)
    if asked is None:
        for kept in reversed(range(1, job.preset.architecture.num_hidden_layers)):
            yield Loop(micro_batch_tokens=tokens, checkpointing=True, kept_blocks=kept)
    if asked is not False:
        yield Loop(micro_batch_tokens=tokens, checkpointing=True)


def _time(job: Job, loop: Loop) -> float:
    """Time per token, in forward passes.

    One forward pass, one backward pass to the activations (frozen weights have no gradient), and
    a second forward pass for the share of blocks that are recomputed.
    """
    blocks = job.preset.architecture.num_hidden_layers
    recomputed = (blocks - loop.kept_blocks) / blocks if loop.checkpointing else 0.0
    return (2 + recomputed) * (1 + PASS_TOKENS / loop.micro_batch_tokens)


def _micro_batches(settings: Settings, card: Card) -> list[int]:
    """Token counts to try, largest first: max_length times powers of two, or the user's value."""
    if settings.micro_batch_tokens is not None:
        return [settings.micro_batch_tokens]
    wanted = GPU_MICRO_BATCH_TOKENS if card.gpus else CPU_MICRO_BATCH_TOKENS
    most = min(wanted, settings.tokens_per_step // workers(settings, card))
    sizes = [settings.max_length]
    while 2 * sizes[-1] <= most:
        sizes.append(2 * sizes[-1])
    return sizes[::-1]


def workers(settings: Settings, card: Card) -> int:
    """Number of processes that share one optimizer step, one per GPU."""
    return settings.processes or max(1, card.gpus)


def _laid_out(loop: Loop, settings: Settings, card: Card) -> Loop:
    """The loop on the card's GPUs, with the blocks that its settings lead to."""
    processes = workers(settings, card) if card.gpus else 1
    return replace(
        loop,
        processes=processes,
        shards=processes if settings.shard else 1,
        # PEFT computes the layers of these two, transformers the blocks of the others.
        plain_blocks=bool(
            settings.dropout or settings.use_dora or settings.liger or settings.compile
        ),
    )


def _fits_well(memory: Memory, card: Card) -> bool:
    if card.usable_gb is None:
        return memory.activations_gb <= CPU_ACTIVATIONS_GB
    return memory.total_gb <= COMFORTABLE_SHARE * card.usable_gb


def _choice(settings: Settings, card: Card, loop: Loop, memory: Memory) -> Choice:
    return Choice(
        micro_batch_tokens=loop.micro_batch_tokens,
        accumulation_steps=_accumulation_steps(settings, card, loop.micro_batch_tokens),
        gradient_checkpointing=loop.checkpointing,
        kept_blocks=loop.kept_blocks,
        memory=memory,
    )


def _accumulation_steps(settings: Settings, card: Card, tokens: int) -> int:
    """Micro-batches of a step over all GPUs, the same number for each.

    The user's value counts for one GPU, as in transformers; so does its default of 1 beside a
    number of rows.
    """
    gpus = workers(settings, card)
    of_one_gpu = settings.accumulation_steps
    if of_one_gpu is None and settings.rows_per_micro_batch is None:
        of_one_gpu = round(settings.tokens_per_step / (tokens * gpus))
    return gpus * max(1, of_one_gpu or 1)
