"""Batch, accumulation and checkpointing for a card."""

from __future__ import annotations

from typing import Any

import pytest

from argotune.presets.loader import model_preset, sku, skus
from argotune.presets.schema import Method
from argotune.steps.plan.choose import Choice, Job, choose, estimate_job, smallest_memory
from argotune.steps.plan.config import read_config
from argotune.steps.plan.hardware import THIS_MACHINE, Card, card_of
from argotune.steps.plan.memory import Loop
from tests.steps.plan.helpers import config


def job(preset: str, *, method: Method = "qlora", text: str = "") -> Job:
    problems: list[str] = []
    found = model_preset(preset)
    settings = read_config(text, found, method, problems=problems, warnings=[])
    assert problems == []
    return Job(
        preset=found,
        method=method,
        settings=settings,
        targets=found.lora_target_modules,
        skus=skus(),
    )


def chosen(job: Job, card: Card) -> Choice:
    choice = choose(job, card)
    assert choice is not None
    return choice


A10 = card_of(sku("g5.4xlarge"))
A100 = card_of(sku("Standard_NC24ads_A100_v4"))


def gpus(name: str) -> Card:
    return card_of(sku(name))


@pytest.mark.parametrize(
    ("preset", "card", "tokens", "accumulation", "kept"),
    [
        # 3.2 MB per token with all activations kept: they have room on an A10.
        ("phi-3-mini-4k-instruct", A10, 4096, 8, "all"),
        ("phi-3-mini-4k-instruct", A100, 8192, 4, "all"),
        ("phi-4", A10, 4096, 8, "10 of 40"),
        ("phi-4", A100, 8192, 4, "39 of 40"),
        ("qwen2.5-coder-32b-instruct", A100, 4096, 8, "47 of 64"),
        ("tiny", A10, 512, 1, "all"),
        ("tiny", THIS_MACHINE, 512, 1, "all"),
        # A step is shared out, in equal parts.
        ("phi-4", gpus("Standard_NC48ads_A100_v4"), 8192, 4, "39 of 40"),
        ("phi-4", gpus("Standard_ND96amsr_A100_v4"), 4096, 8, "all"),
    ],
)
def test_choice_for_a_card(
    preset: str, card: Card, tokens: int, accumulation: int, kept: str
) -> None:
    wanted = job(preset)
    choice = chosen(wanted, card)
    assert choice.micro_batch_tokens == tokens
    assert choice.accumulation_steps == accumulation
    blocks = wanted.preset.architecture.num_hidden_layers
    if choice.gradient_checkpointing:
        assert f"{choice.kept_blocks} of {blocks}" == kept
    else:
        assert (choice.kept_blocks, kept) == (0, "all")


@pytest.mark.parametrize("preset", ["phi-4", "mistral-7b", "qwen3-8b"])
def test_one_more_kept_block_would_not_leave_a_tenth_of_the_card(preset: str) -> None:
    wanted = job(preset)
    choice = chosen(wanted, A10)
    more = Loop(
        micro_batch_tokens=choice.micro_batch_tokens,
        checkpointing=True,
        kept_blocks=choice.kept_blocks + 1,
    )
    assert A10.usable_gb is not None
    most_gb = 0.9 * A10.usable_gb
    assert choice.memory.total_gb <= most_gb < estimate_job(wanted, more).total_gb


def test_many_tokens_are_not_worth_recomputing_for_where_few_can_be_kept() -> None:
    """512 tokens waste an eighth of the passes over the weights; recomputing all costs a half."""
    text = config("Argotune: {max_length: 512, tokens_per_step: 8192}")
    choice = chosen(job("phi-3-mini-4k-instruct", text=text), A10)
    assert (choice.micro_batch_tokens, choice.gradient_checkpointing) == (4096, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TrainingArguments: {gradient_accumulation_steps: 3}", 24),
        ("Argotune: {tokens_per_step: 4096}", 8),
        ("Argotune: {tokens_per_step: 100000}", 16),
    ],
)
def test_every_gpu_has_as_much_to_do(text: str, expected: int) -> None:
    eight = gpus("Standard_ND96amsr_A100_v4")
    choice = chosen(job("phi-4", text=config(text)), eight)
    assert choice.accumulation_steps == expected


def test_a_tenth_of_the_card_is_kept_free_where_there_is_a_choice() -> None:
    choice = chosen(job("mistral-7b", method="lora"), A10)
    assert A10.usable_gb is not None
    assert choice.memory.total_gb <= 0.9 * A10.usable_gb


def test_last_tenth_is_used_before_a_job_is_refused() -> None:
    wanted = job("mistral-7b", method="lora", text=config("Argotune: {micro_batch_tokens: 8192}"))
    needed_gb = smallest_memory(wanted, A10).total_gb
    tight = Card(
        instance_type=None,
        gpus=1,
        gpu_model=None,
        gpu_memory_gib=(needed_gb + 0.1) * 1e9 / 2**30 * 16 / 15,
    )
    choice = chosen(wanted, tight)
    assert (choice.gradient_checkpointing, choice.kept_blocks) == (True, 0)
    assert choice.memory.total_gb == needed_gb


def test_nothing_fits_on_a_card_that_is_too_small() -> None:
    assert choose(job("qwen2.5-coder-32b-instruct"), A10) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TrainingArguments: {per_device_train_batch_size: 1}", (4096, 1)),
        ("TrainingArguments: {gradient_accumulation_steps: 3}", (4096, 3)),
        (
            "TrainingArguments: {per_device_train_batch_size: 2, gradient_accumulation_steps: 3}",
            (8192, 3),
        ),
        ("Argotune: {micro_batch_tokens: 5000}", (5000, 7)),
        ("Argotune: {tokens_per_step: 4096}", (4096, 1)),
        ("Argotune: {max_length: 512}", (1024, 8)),
        ("Argotune: {max_length: 3000}", (3000, 11)),
    ],
)
def test_words_of_the_user_are_honoured(text: str, expected: tuple[int, int]) -> None:
    choice = chosen(job("phi-4", text=config(text)), A10)
    assert (choice.micro_batch_tokens, choice.accumulation_steps) == expected


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("card", [A100, THIS_MACHINE])
def test_checkpointing_that_the_user_asks_for_is_honoured(asked: bool, card: Card) -> None:
    text = config(f"TrainingArguments: {{gradient_checkpointing: {str(asked).lower()}}}")
    choice = chosen(job("phi-3-mini-4k-instruct", text=text), card)
    assert choice.gradient_checkpointing is asked


def test_large_model_on_a_machine_of_unknown_memory_recomputes_activations() -> None:
    assert chosen(job("phi-4"), THIS_MACHINE).gradient_checkpointing is True


@pytest.mark.parametrize("gib", [24, 48.0])
def test_usable_memory_leaves_a_sixteenth_to_error_correction(gib: Any) -> None:
    card = Card(instance_type=None, gpus=1, gpu_model=None, gpu_memory_gib=gib)
    assert card.usable_gb == pytest.approx(gib * 2**30 / 1e9 * 15 / 16)
    assert THIS_MACHINE.usable_gb is None


@pytest.mark.parametrize(
    ("text", "lora_gb", "kept"),
    [
        ("{training_config: {LoraConfig: {lora_dropout: 0.2}}}", 0.5, "19 of 32"),
        ("{training_config: {LoraConfig: {use_dora: true}}}", 1.3, "14 of 32"),
    ],
)
def test_dropout_and_dora_leave_less_room_for_activations(
    text: str, lora_gb: float, kept: str
) -> None:
    choice = chosen(job("phi-3-mini-4k-instruct", text=text), A10)
    assert round(choice.memory.lora_gb, 1) == lora_gb
    assert f"{choice.kept_blocks} of 32" == kept
