"""Conversations as questions to the engine: rendered and tokenized as in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from argotune.steps.contracts.serving import Message, ServingContract
from argotune.steps.serve.engine.interface import Engine, Question, Sampling
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.prompt_tokens import PromptTokens


class Conversations:
    """Makes questions for the adapter or the base that a request names."""

    def __init__(
        self, engine: Engine, tokenizer: Any, *, name: str, log_prompts: bool = False
    ) -> None:
        self.name = name
        """The model that a request without `model` asks."""
        self._engine = engine
        self.tokens = PromptTokens(tokenizer, log_prompts=log_prompts)

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
        """Render and tokenize a conversation, off the loop. Raises ApiError 400 or 404."""
        contract = self.contract(model)
        prompt = self.tokens.of_conversation(contract, messages)
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
