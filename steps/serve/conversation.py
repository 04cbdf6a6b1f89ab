"""Conversations as questions to the engine: rendered and tokenized as in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers.utils import chat_template_utils

from argotune.steps.contracts.chat_sandbox import ChatSandbox, TemplateFailure, bounded_rendering
from argotune.steps.contracts.serving import Message, ServingContract
from argotune.steps.serve.engine.interface import Engine, Question, Sampling
from argotune.steps.serve.errors import ApiError

# The library makes its environment anew for each template, of the class that it finds here.
chat_template_utils.ImmutableSandboxedEnvironment = ChatSandbox  # type: ignore[attr-defined]


class Conversations:
    """Makes questions for the adapter or the base that a request names."""

    def __init__(self, engine: Engine, tokenizer: Any, *, name: str) -> None:
        self.name = name
        """The model that a request without `model` asks."""
        self._engine = engine
        self._tokenizer = tokenizer

    @property
    def base_name(self) -> str:
        """The base model's name in requests."""
        return self._engine.base_contract.base.repository

    def contract(self, model: str) -> ServingContract:
        """How this model is served. Raises ApiError 404 if it is not."""
        if model == self.base_name:
            return self._engine.base_contract
        adapters = self._engine.adapters()
        if model in adapters:
            return adapters[model]
        names = [*adapters, self.base_name]
        raise ApiError(
            404,
            f"model {model!r} is not served here; available are "
            f"{', '.join(map(repr, names[:-1]))} and {names[-1]!r}",
            param="model",
            code="model_not_found",
        )

    def question(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        max_new_tokens: int | None,
        sampling: Sampling,
        stop_texts: Sequence[str] = (),
    ) -> Question:
        """Render and tokenize a conversation. Raises ApiError 400 or 404."""
        contract = self.contract(model)
        prompt = self._tokenize(messages)
        room = contract.max_length - len(prompt)
        if room < (max_new_tokens or 1):
            asked = "" if max_new_tokens is None else f" and the answer up to {max_new_tokens}"
            raise ApiError(
                400,
                f"the conversation has {len(prompt)} tokens{asked}; the limit for "
                f"conversation and answer is {contract.max_length}",
                param="messages",
                code="context_length_exceeded",
            )
        return Question(
            prompt=tuple(prompt),
            adapter=None if model == self.base_name else model,
            max_new_tokens=max_new_tokens or min(room, contract.generation.max_new_tokens),
            sampling=sampling,
            stop_texts=tuple(stop_texts),
        )

    def _tokenize(self, messages: Sequence[Message]) -> list[int]:
        try:
            with bounded_rendering():
                text = self._tokenizer.apply_chat_template(
                    list(messages), add_generation_prompt=True, tokenize=False
                )
        except TemplateFailure as error:
            raise ApiError(
                400, f"the chat template rejects these messages: {error}", param="messages"
            ) from error
        # The template already contains the opening tokens, so the tokenizer must not add them.
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids
