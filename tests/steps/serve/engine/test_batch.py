from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from argotune.presets.families import FAMILIES
from argotune.steps.serve.engine.adapter_mix import AdapterMix
from argotune.steps.serve.engine.batch import Batch, Row
from argotune.steps.serve.engine.row_attention import RowCache
from tests.steps.tune.architectures import random_architecture
from tests.steps.tune.models import CONFIGS, VOCABULARY, linear_layers, random_model

# PEFT 0.21 reads an attribute by a name that is deprecated in transformers 5.23.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

SHORT, LONG = 5, 90
"""Tokens of prompts; a long one is read in two pieces."""


def prompt(tokens: int) -> tuple[int, ...]:
    torch.manual_seed(tokens)
    return tuple(torch.randint(5, VOCABULARY, (tokens,)).tolist())


def asking(tokens: int, adapter: str | None = None) -> Row:
    """A row with a prompt of so many tokens, and room for a few more."""
    return Row(prompt(tokens), adapter, RowCache(tokens + 8))


def adapted(family: str, *, use_dora: bool = False) -> Any:
    """A random model with adapters `one` and `two`, whose weights matter."""
    model = random_model(family, "sdpa", rope="long")
    return with_adapters(model, linear_layers(model.config.model_type), use_dora=use_dora)


def with_adapters(model: Any, layers: list[str], *, use_dora: bool = False) -> Any:
    for name, modules in (("one", layers), ("two", ["o_proj"])):
        config = LoraConfig(r=4, target_modules=modules, init_lora_weights=False, use_dora=use_dora)
        if name == "one":
            model = get_peft_model(model, config, adapter_name=name)
        else:
            model.add_adapter(name, config)
    return model.eval()


def greedy(batch: Batch, rows: Sequence[Row], tokens: int) -> list[list[int]]:
    """The next `tokens` of each row, while all of them are in the batch."""
    found: dict[Row, list[int]] = {row: [] for row in rows}
    batch.rows = list(rows)
    while batch.rows:
        for row, logits in batch.step():
            token = int(logits.argmax())
            found[row].append(token)
            row.pending = (token,)
            if len(found[row]) == tokens:
                batch.rows.remove(row)
    return list(found.values())


def reference(
    model: Any, prompt: Sequence[int], adapter: str | None, answer: Sequence[int]
) -> list[int]:
    """What transformers and PEFT answer to the prompt, and after each token of the answer."""
    ids = torch.tensor([[*prompt, *answer[:-1]]])
    model.set_adapter(adapter or "one")
    with torch.no_grad(), contextlib.nullcontext() if adapter else model.disable_adapter():
        likeliest: list[int] = model(ids).logits[0, len(prompt) - 1 :].argmax(dim=-1).tolist()
    return likeliest


def check_answers(asked: Sequence[tuple[int, str | None]], make: Callable[[], Any]) -> None:
    """Answers of a batch to prompts of so many tokens are those of PEFT, one by one."""
    model, other = make(), make()
    answers = greedy(Batch(AdapterMix(model)), [asking(n, adapter) for n, adapter in asked], 6)
    for (tokens, adapter), answer in zip(asked, answers, strict=True):
        assert answer == reference(other, prompt(tokens), adapter, answer)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_tokens_are_those_of_transformers_and_peft(family: str) -> None:
    asked = [(SHORT, None), (LONG, "one"), (SHORT, "two"), (SHORT + 1, "one"), (LONG, None)]
    check_answers(asked, lambda: adapted(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_of_every_architecture_are_those_of_transformers_and_peft(family: str) -> None:
    asked = [(SHORT, None), (LONG, "one"), (SHORT, "two")]
    check_answers(asked, lambda: with_adapters(random_architecture(family), ["o_proj"]))


def test_dora_adapters_are_mixed_too() -> None:
    asked = [(SHORT, None), (SHORT, "one"), (LONG, "two")]
    check_answers(asked, lambda: adapted("phi3", use_dora=True))


def test_logits_are_the_same_bit_for_bit_alone_and_beside_others() -> None:
    """So that no tie falls otherwise because of what else runs."""
    model = adapted("phi3")
    batch = Batch(AdapterMix(model))

    def logits(*others: Row) -> list[torch.Tensor]:
        row = asking(LONG, "one")
        batch.rows = [row, *others]
        found = []
        while len(found) < 4:
            for each, logits in batch.step():
                each.pending = (int(logits.argmax()),)
                if each is row:
                    found.append(logits)
        return found

    alone = logits()
    beside = logits(*(asking(n, (None, "one", "two")[n % 3]) for n in range(2, 20)))
    assert all(map(torch.equal, alone, beside))


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    model = adapted("phi3")
    batch = Batch(AdapterMix(model))
    answering, long, short = (asking(n) for n in (SHORT, 2 * LONG, SHORT))
    batch.rows = [answering]
    batch.step()
    answering.pending = (7,)
    batch.rows += [long, short]
    assert [row for row, _ in batch.step()] == [answering]
    answering.pending = (7,)
    assert [row for row, _ in batch.step()] == [answering, short]
    assert len(long.pending) == 2 * LONG - 128
