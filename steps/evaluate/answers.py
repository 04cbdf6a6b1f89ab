"""Greedy answers to the prompts of held-out rows, and what is wrong with an answer by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from argotune.steps.causal_lm.device import Device
from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.tokens.template import ChatTemplate
from argotune.steps.tokens.tokenise import conversations_of, first_answer, tokenise

_LONGEST_PROMPT = 2048
"""Tokens; the prompts of one forward pass share the GPU's memory with the model."""
_LONGEST_PERIOD = 32
"""Tokens of a text that an answer repeats."""
_FEWEST_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Question:
    """The prompt of a held-out row."""

    row: Conversation
    ids: Sequence[int]
    """The prompt's tokens, up to the row's first answer."""
    reference: Sequence[int]
    """The tokens of that answer, its end-of-turn token included."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A model's answer."""

    ids: Sequence[int]
    """Without its stop token."""
    finished: bool
    """Whether it ended with a stop token within the limit of tokens."""


def find_questions(
    split: Path, template: ChatTemplate, tokenizer: Any, max_length: int, *, wanted: int
) -> list[Question]:
    """The first rows of a parquet file whose prompts are short enough, at most `wanted`.

    Raises PermanentError if it is not a file of the dataset step.
    """
    found: list[Question] = []
    for question in _questions(split, template, tokenizer, max_length):
        if len(found) == wanted:
            break
        found.append(question)
    return found


def _questions(
    split: Path, template: ChatTemplate, tokenizer: Any, max_length: int
) -> Iterator[Question]:
    for batch in conversations_of(split):
        rows = tokenise([batch], template, tokenizer, max_length)
        for conversation, row in zip(batch, rows, strict=True):
            if row.problem:
                continue
            start, end = first_answer(row.labelled)
            if start <= min(_LONGEST_PROMPT, max_length // 2):
                ids = row.ids.tolist()
                yield Question(row=conversation, ids=ids[:start], reference=ids[start:end])


@torch.no_grad()
def answer_greedily(
    model: Any,
    questions: Sequence[Question],
    device: Device,
    *,
    most_tokens: int,
    stop_token_ids: Sequence[int],
) -> list[Answer]:
    """The most likely tokens after each prompt, in one batch."""
    if not questions:
        return []
    longest = max(len(question.ids) for question in questions)
    padding = [longest - len(question.ids) for question in questions]
    ids = [[0] * pad + list(q.ids) for pad, q in zip(padding, questions, strict=True)]
    mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
    # The base's own generation_config may have a penalty on repetitions, which would hide them.
    model.get_base_model().generation_config = config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=most_tokens,
        eos_token_id=list(stop_token_ids),
        pad_token_id=stop_token_ids[0],
    )
    with device.precision():
        written = model.generate(
            input_ids=torch.tensor(ids, device=device.torch_device),
            attention_mask=torch.tensor(mask, device=device.torch_device),
            generation_config=config,
        )
    return [_answer(tokens, stop_token_ids) for tokens in written[:, longest:].tolist()]


def _answer(tokens: Sequence[int], stop_token_ids: Sequence[int]) -> Answer:
    stops = set(stop_token_ids)
    end = next((place for place, token in enumerate(tokens) if token in stops), None)
    return Answer(ids=tokens[:end], finished=end is not None)


def fault_of(answer: Answer, text: Callable[[Sequence[int]], str]) -> str:
    """`empty` or `looping`; empty if the answer is neither.

    An answer loops if it went on to the limit of tokens and more than half of it, at its end,
    repeats a text of at most 32 tokens, three times or more.
    """
    if not text(answer.ids).strip():
        return "empty"
    return "looping" if not answer.finished and _repeats(answer.ids) else ""


def _repeats(ids: Sequence[int]) -> bool:
    for period in range(1, _LONGEST_PERIOD + 1):
        end = len(ids)
        while end > period and ids[end - 1] == ids[end - 1 - period]:
            end -= 1
        # The first of the repeated texts is the one that nothing before it equals.
        repeated = len(ids) - end + period
        if repeated >= _FEWEST_REPEATS * period and 2 * repeated > len(ids):
            return True
    return False
