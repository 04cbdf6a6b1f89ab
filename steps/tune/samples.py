"""A few questions that the model answers at each evaluation, as a check beside the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from argotune.steps.causal_lm.device import Device
from argotune.steps.causal_lm.head import Head
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Watch
from argotune.steps.tokens.spans import TemplateMismatch
from argotune.steps.tokens.template import ChatTemplate
from argotune.steps.tokens.tokenise import first_answer
from argotune.steps.tune.distributed import World
from argotune.steps.tune.evaluate import hidden_states
from argotune.steps.tune.pack import MicroBatch, Packs

_LONGEST_PROMPT = 512
"""Tokens; with longer prompts each token of an answer would take as long as a training step."""


@dataclass(frozen=True)
class Question:
    """A tokenized prompt."""

    ids: list[int]
    expected: str | None
    """The held-out row's answer; None for a prompt of the plan."""


@dataclass(frozen=True)
class Answer:
    """The model's answer to a question."""

    prompt: str
    expected: str | None
    answer: str
    finished: bool
    """Whether the answer ended with a stop token within the limit of tokens."""


@dataclass(frozen=True)
class Samples:
    """Fixed questions, answered greedily in one batch, so that each attempt gives the same."""

    questions: list[Question]
    most_tokens: int
    tokenizer: Any
    stop_token_ids: Sequence[int]

    @torch.no_grad()
    def answers(self, model: Any, device: Device, world: World) -> list[Answer]:
        """Answer all questions; all processes of a run make the same forward passes."""
        if not self.questions:
            return []
        was_training = model.training
        model.eval()
        written: list[list[int]] = [[] for _ in self.questions]
        open_ones = list(range(len(self.questions)))
        for _ in range(self.most_tokens):
            rows = [self.questions[index].ids + written[index] for index in open_ones]
            chosen = world.as_leader(_next_tokens(model, rows, device)).tolist()
            for index, token in zip(open_ones, chosen, strict=True):
                written[index].append(token)
            open_ones = [i for i in open_ones if written[i][-1] not in self.stop_token_ids]
            if not open_ones:
                break
        model.train(was_training)
        return [
            Answer(
                prompt=self._text(question.ids),
                expected=question.expected,
                answer=self._text(ids),
                finished=ids[-1] in self.stop_token_ids,
            )
            for question, ids in zip(self.questions, written, strict=True)
        ]

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def make_samples(watch: Watch, held_out: Packs, template: ChatTemplate, tokenizer: Any) -> Samples:
    """The plan's questions, else those of the first held-out rows that are short enough.

    Raises PermanentError if a question of the plan is too long or fails in the chat template.
    """
    asked = [_prompt_question(prompt, template, tokenizer) for prompt in watch.sample_prompts]
    questions = asked or _row_questions(held_out, watch.samples, tokenizer)
    return Samples(questions, watch.sample_tokens, tokenizer, template.stop_token_ids)


def _prompt_question(prompt: str, template: ChatTemplate, tokenizer: Any) -> Question:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": "x"}]
    try:
        rendered = template.render(turns)
    except TemplateMismatch as error:
        raise PermanentError(f"watch.sample_prompts: {prompt!r}: {error}") from error
    text = rendered.text[: rendered.spans[0][0]]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) > _LONGEST_PROMPT:
        raise PermanentError(
            f"watch.sample_prompts: {prompt[:40]!r}... has {len(ids)} tokens; at most "
            f"{_LONGEST_PROMPT} are accepted"
        )
    return Question(list(ids), None)


def _row_questions(held_out: Packs, wanted: int, tokenizer: Any) -> list[Question]:
    questions: list[Question] = []
    for ids, labelled in held_out.documents():
        if len(questions) == wanted:
            break
        first, end = first_answer(labelled)
        if first > _LONGEST_PROMPT:
            continue
        expected = str(tokenizer.decode(ids[first:end], skip_special_tokens=True)).strip()
        questions.append(Question(ids[:first].tolist(), expected))
    return questions


def _next_tokens(model: Any, rows: list[list[int]], device: Device) -> torch.Tensor:
    """The most likely next token of each row, [rows].

    It uses no key-value cache: the rows form one pack, as in training, and the answers are short.
    """
    lengths = tuple(len(row) for row in rows)
    ends = torch.tensor(lengths).cumsum(0) - 1
    batch = MicroBatch(
        input_ids=torch.tensor([token for row in rows for token in row])[None],
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None],
        label_positions=ends,
        targets=torch.zeros_like(ends),
        document_lengths=lengths,
    ).to(device.torch_device)
    with device.precision():
        states = hidden_states(model, batch)[0, batch.label_positions]
        logits = Head.of(model.get_base_model())(states)
    chosen: torch.Tensor = logits.argmax(-1)
    return chosen
