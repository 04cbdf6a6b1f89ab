"""Picks what one forward pass holds, how many make a step, and whether to recompute activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from presets.schema import Method, ModelPreset
from presets.sizes import lora_parameters
from steps.common.training_plan import Memory
from steps.plan.hardware import Card
from steps.plan.memory import Loop, estimate
from steps.plan.settings import Settings

GPU_MICRO_BATCH_TOKENS = 8192
"""More tokens than this no longer make a pass faster per token on the cards of the catalog."""
KEPT_MICRO_BATCH_TOKENS = 4096
"""Activations are recomputed rather than kept for passes of fewer tokens: each pass turns all
4-bit weights into 16 bits, whatever it holds."""
CPU_MICRO_BATCH_TOKENS = 1024
"""Two cores take about a second for it on preset tiny, so progress moves."""
COMFORTABLE_SHARE = 0.9
"""The estimate is within 10 % of what was published, so a tenth of the card is kept free."""
CPU_ACTIVATIONS_GB = 2.0
"""A machine of unknown memory recomputes activations beyond this."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be tuned, on whatever card."""

    preset: ModelPreset
    method: Method
    settings: Settings
    targets: list[str]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a job runs on a card."""

    micro_batch_tokens: int
    accumulation_steps: int
    gradient_checkpointing: bool
    memory: Memory


def choose(job: Job, card: Card) -> Choice | None:
    """The first way that fits well, with activations kept before recomputed and many tokens
    before few; else the smallest way if it fits at all; else None."""
    loops = list(_loops(job.settings, card))
    for loop in loops:
        memory = estimate_job(job, loop)
        if _fits_well(memory, loop, card):
            return _choice(job.settings, loop, memory)
    memory = estimate_job(job, loops[-1])
    if card.usable_gb is None or memory.total_gb <= card.usable_gb:
        return _choice(job.settings, loops[-1], memory)
    return None


def smallest(job: Job) -> Memory:
    """The memory of the job with everything that the user left open at its smallest."""
    settings = job.settings
    checkpointing = settings.gradient_checkpointing is not False
    tokens = settings.micro_batch_tokens or settings.max_length
    return estimate_job(job, Loop(micro_batch_tokens=tokens, checkpointing=checkpointing))


def estimate_job(job: Job, loop: Loop) -> Memory:
    """The memory estimate of one way to run the job."""
    architecture, family = job.preset.architecture, job.preset.family
    lora_weights = lora_parameters(architecture, family, job.targets, job.settings.r)
    return estimate(architecture, family, job.method, lora_weights=lora_weights, loop=loop)


def _loops(settings: Settings, card: Card) -> Iterator[Loop]:
    """Ways to run, the best first and the smallest last."""
    sizes = _micro_batches(settings, card)
    asked = settings.gradient_checkpointing
    if asked is not True:
        enough = 0 if asked is False else min(KEPT_MICRO_BATCH_TOKENS, sizes[0])
        for tokens in sizes:
            if tokens >= enough:
                yield Loop(micro_batch_tokens=tokens, checkpointing=False)
    if asked is not False:
        for tokens in sizes:
            yield Loop(micro_batch_tokens=tokens, checkpointing=True)


def _micro_batches(settings: Settings, card: Card) -> list[int]:
    """Token counts to try, largest first: max_length times a power of two, or what is asked."""
    if settings.micro_batch_tokens is not None:
        return [settings.micro_batch_tokens]
    wanted = GPU_MICRO_BATCH_TOKENS if card.gpus else CPU_MICRO_BATCH_TOKENS
    most = min(wanted, settings.tokens_per_step)
    sizes = [settings.max_length]
    while 2 * sizes[-1] <= most:
        sizes.append(2 * sizes[-1])
    return sizes[::-1]


def _fits_well(memory: Memory, loop: Loop, card: Card) -> bool:
    if card.usable_gb is not None:
        return memory.total_gb <= COMFORTABLE_SHARE * card.usable_gb
    return loop.checkpointing or memory.activations_gb <= CPU_ACTIVATIONS_GB


def _choice(settings: Settings, loop: Loop, memory: Memory) -> Choice:
    tokens = loop.micro_batch_tokens
    accumulation = settings.accumulation_steps or round(settings.tokens_per_step / tokens)
    return Choice(
        micro_batch_tokens=tokens,
        accumulation_steps=max(1, accumulation),
        gradient_checkpointing=loop.checkpointing,
        memory=memory,
    )
