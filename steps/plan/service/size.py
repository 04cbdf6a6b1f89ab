"""The size of a service: how long a context its GPU holds, and how many answers at once.

weights    as in training (steps/plan/memory.py): 2 bytes each, or NF4 in 4 bits
adapters   on transformers twice their files, because 16-bit adapters are loaded in float32; on vLLM
           as many as are computed together, in 16 bits, each with the largest rank on every layer
step       on vLLM, which sets it apart: 2048 tokens with what a block keeps of each for training
           (block_bytes, more than answers need), and 24 bytes per vocabulary entry and answer: the
           logits in float32, and sorted with their places, probabilities and sums
context    0.7 GB for CUDA's context and libraries
answers    keys and values in 16 bits, for which the server takes 80 % of what is left
           (steps/contracts/served.py); the rest is for what a step computes on transformers, and on
           vLLM for its graphs

vLLM has 90 % of the memory for all of this. Its terms are of its source, not measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from argotune.presets.schema import Method, ModelPreset, Sku
from argotune.presets.sizes import kept_numbers, linear_layers, lora_parameters
from argotune.steps.contracts import vllm
from argotune.steps.contracts.served import KEYS_AND_VALUES_SHARE
from argotune.steps.contracts.service_plan import ServiceMemory
from argotune.steps.plan.hardware import Card, card_of, sku_problem
from argotune.steps.plan.memory import (
    BFLOAT16_BYTES,
    CONTEXT_BYTES,
    GB,
    block_bytes,
    weights_bytes,
)

MOST_ANSWERS: Mapping[vllm.Engine, int] = {"transformers": 16, "vllm": vllm.MOST_ANSWERS}
"""Answers at once of one server at most, its flag --slots."""
LEAST_LENGTH = 2048
"""A context that the user did not ask for is not shorter than this, or than the model's."""
LENGTH_STEP = 256
"""Such a context is a multiple of this many tokens."""
_LOADED_BYTES = 2
"""Per byte of an adapter's file, whose 16-bit weights are loaded in float32."""
_LOGIT_BYTES = 24


@dataclass(frozen=True, kw_only=True)
class AdapterSizes:
    """The adapters of a service, as far as their memory depends on them."""

    number: int = 0
    file_bytes: int = 0
    """Size of all their weights as files."""
    largest_rank: int = 0


@dataclass(frozen=True, kw_only=True)
class ServiceJob:
    """A service, independent of the GPU that it runs on."""

    preset: ModelPreset
    engine: vllm.Engine
    load_in_4bit: bool
    asked_length: int | None
    """Longest context that the user asks for, tokens; None: the longest that fits."""
    most_length: int
    """Longest that model and adapters support."""
    adapters: AdapterSizes
    skus: tuple[Sku, ...]
    """Machines that may be proposed for it."""

    @property
    def least_length(self) -> int:
        """Shortest context with which the service is of use."""
        return self.asked_length or min(LEAST_LENGTH, self.most_length)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A service on one GPU."""

    max_length: int
    answers: int | None
    """None: the memory is not known."""
    memory: ServiceMemory


@dataclass(frozen=True, kw_only=True)
class ServiceFit:
    """Whether and how a service runs on a SKU."""

    sku: Sku
    size: Size | None
    """None: it cannot run there."""
    reason: str
    """Why it cannot; empty where it can."""


def size_of(job: ServiceJob, card: Card) -> Size | None:
    """The service with the longest context that fits, or the one that is asked for.

    None where it does not fit.
    """
    if card.usable_gb is None:
        length = job.asked_length or job.most_length
        return Size(max_length=length, answers=None, memory=memory_of(job, length))
    free_bytes = card.usable_gb * GB * _memory_share(job) - _fixed_bytes(job)
    tokens = int(free_bytes * KEYS_AND_VALUES_SHARE // _token_bytes(job))
    if tokens < job.least_length:
        return None
    length = job.asked_length or min(job.most_length, tokens // LENGTH_STEP * LENGTH_STEP)
    return Size(
        max_length=length,
        answers=min(MOST_ANSWERS[job.engine], tokens // length),
        memory=memory_of(job, length),
    )


def memory_of(job: ServiceJob, max_length: int) -> ServiceMemory:
    """Terms of the least memory, with one answer of that length."""
    answer_bytes = max_length * _token_bytes(job)
    terms = {
        "weights_gb": _weights_bytes(job),
        "adapters_gb": _adapters_bytes(job),
        "step_gb": _step_bytes(job),
        "context_gb": CONTEXT_BYTES,
        "answer_gb": answer_bytes,
    }
    least = (_fixed_bytes(job) + answer_bytes / KEYS_AND_VALUES_SHARE) / _memory_share(job)
    return ServiceMemory(
        **{name: round(size / GB, 3) for name, size in terms.items()}, total_gb=round(least / GB, 3)
    )


def fit(job: ServiceJob, sku: Sku) -> ServiceFit:
    """Whether and how the service runs on a SKU."""
    reason = sku_problem(sku) or ""
    size = None if reason else size_of(job, card_of(sku))
    if not reason and size is None:
        reason = too_small(job, card_of(sku))
    return ServiceFit(sku=sku, size=size, reason=reason)


def fits(job: ServiceJob) -> list[ServiceFit]:
    """Every SKU that may be proposed: those on which it runs first, the cheapest of them first."""
    found = [fit(job, each) for each in job.skus]
    return sorted(
        found,
        key=lambda each: (
            each.size is None,
            each.sku.price_usd_per_hour is None,
            each.sku.price_usd_per_hour or 0.0,
            each.sku.gpus,
            each.sku.name,
        ),
    )


def nearest(found: Sequence[ServiceFit]) -> Sku | None:
    """The cheapest SKU on which a service runs, from `fits`."""
    return next((each.sku for each in found if each.size is not None), None)


def too_small(job: ServiceJob, card: Card) -> str:
    """Why a service does not fit a GPU, with both numbers."""
    needed_gb, has_gb = memory_of(job, job.least_length).total_gb, card.usable_gb or 0.0
    bits = "4 bits" if job.load_in_4bit else "16 bits"
    on = " on vLLM" if job.engine == "vllm" else ""
    return (
        f"{job.preset.name} in {bits}{on} with one answer of {job.least_length} tokens needs"
        f" {needed_gb:.1f} GB of one GPU, but {card.gpu_model or 'it'} has {has_gb:.1f} GB"
    )


def _fixed_bytes(job: ServiceJob) -> float:
    return _weights_bytes(job) + _adapters_bytes(job) + _step_bytes(job) + CONTEXT_BYTES


def _memory_share(job: ServiceJob) -> float:
    return vllm.GPU_MEMORY_SHARE if job.engine == "vllm" else 1.0


def _adapters_bytes(job: ServiceJob) -> int:
    sizes = job.adapters
    if job.engine == "transformers":
        return _LOADED_BYTES * sizes.file_bytes
    if not sizes.largest_rank:
        return 0
    architecture, rank = job.preset.architecture, vllm.max_lora_rank(sizes.largest_rank)
    layers = linear_layers(architecture, job.preset.family)
    blocks = lora_parameters(architecture, job.preset.family, layers, rank)
    # vLLM has room at the embedding and at lm_head too.
    ends = 2 * rank * (architecture.vocab_size + architecture.hidden_size)
    return min(vllm.MOST_ADAPTERS_TOGETHER, sizes.number) * BFLOAT16_BYTES * (blocks + ends)


def _step_bytes(job: ServiceJob) -> int:
    if job.engine == "transformers":
        return 0
    architecture = job.preset.architecture
    logits = vllm.MOST_ANSWERS * _LOGIT_BYTES * architecture.vocab_size
    return vllm.STEP_TOKENS * block_bytes(architecture, job.preset.family, plain=True) + logits


def _weights_bytes(job: ServiceJob) -> float:
    method: Method = "qlora" if job.load_in_4bit else "lora"
    return weights_bytes(job.preset.architecture, job.preset.family, method)


def _token_bytes(job: ServiceJob) -> int:
    return BFLOAT16_BYTES * kept_numbers(job.preset.architecture)
