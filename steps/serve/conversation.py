"""Conversations as questions to the engine: rendered and tokenized as in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.constraint import Check, Constraints, problem_of_grammar
from argotune.steps.serve.engine.interface import Engine, Question, Sampling
from argotune.steps.serve.errors import ApiError, too_long
from argotune.steps.serve.prompt_tokens import PromptTokens
from argotune.steps.serve.template import ServedTemplate


class Conversations:
    """Makes questions for the adapter or the base that a request names."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Any,
        *,
        name: str,
        log_prompts: bool = False,
        check_grammar: Check = problem_of_grammar,
    ) -> None:
        self.name = name
        """The model that a request without `model` asks."""
        self._engine = engine
        self._tokenizer = tokenizer
        self.tokens = PromptTokens(tokenizer, log_prompts=log_prompts)
        self.constraints = Constraints(tokenizer, check=check_grammar)
        self._templates: dict[str, ServedTemplate] = {}

    @property
    def base_name(self) -> str:
        """The base model's name in requests."""
        return self._engine.base_contract.base.repository

    def is_base(self, model: str) -> bool:
        """Whether requests mean the base alone by this name.

        A service without an adapter of its own has its name for it too.
        """
        if model == self.base_name:
            return True
        return model == self.name and model not in self._engine.adapters()

    def names(self) -> list[str]:
        """The models by name: adapters, and the base by each of its names."""
        adapters = list(self._engine.adapters())
        own = [self.name] if self.is_base(self.name) else []
        return [*own, *adapters, self.base_name]

    def contract(self, model: str) -> ServingContract:
        """How this model is served. Raises ApiError 404 if it is not."""
        if self.is_base(model):
            return self._engine.base_contract
        adapters = self._engine.adapters()
        if model in adapters:
            return adapters[model]
        names = self.names()
        raise ApiError(
            404,
            f"model {model!r} is not served here; available are "
            f"{', '.join(map(repr, names[:-1]))} and {names[-1]!r}",
            param="model",
            code="model_not_found",
        )

    def template(self, model: str) -> ServedTemplate:
        """The chat template of a model. Raises ApiError 404."""
        contract = self.contract(model)
        key = contract.chat_template
        if key not in self._templates:
            self._templates[key] = ServedTemplate(contract, self._tokenizer)
        return self._templates[key]

    def question(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        model: str,
        max_new_tokens: int | None,
        sampling: Sampling,
        stop_texts: Sequence[str] = (),
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> Question:
        """Render and tokenize a conversation, off the loop. Raises ApiError 400 or 404."""
        self.template(model).check(messages, tools)
        return self._question(
            self.tokens.of_conversation(self.contract(model), messages, tools),
            model=model,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop_texts=stop_texts,
            param="messages",
        )

    def plain_question(
        self,
        prompt: str | Sequence[int],
        *,
        model: str,
        max_new_tokens: int | None,
        sampling: Sampling,
        stop_texts: Sequence[str] = (),
    ) -> Question:
        """Tokenize a text as it is, off the loop, or take its tokens. Raises ApiError 400, 404."""
        contract = self.contract(model)
        ids = self.tokens.of_text(contract, prompt) if isinstance(prompt, str) else list(prompt)
        if not ids:
            raise ApiError(400, "prompt: it has no token", param="prompt")
        if (largest := max(ids)) >= len(self._tokenizer):
            raise ApiError(
                400,
                f"prompt: token {largest} is not one of the model's {len(self._tokenizer)}",
                param="prompt",
            )
        return self._question(
            ids,
            model=model,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop_texts=stop_texts,
            param="prompt",
        )

    def _question(
        self,
        prompt: Sequence[int],
        *,
        model: str,
        max_new_tokens: int | None,
        sampling: Sampling,
        stop_texts: Sequence[str],
        param: str,
    ) -> Question:
        contract = self.contract(model)
        room = contract.max_length - len(prompt)
        if room < (max_new_tokens or 1):
            asked = "" if max_new_tokens is None else f" and the answer up to {max_new_tokens}"
            raise too_long(param, f"{len(prompt)} tokens{asked}", contract.max_length)
        most = contract.generation.max_new_tokens
        return Question(
            prompt=tuple(prompt),
            adapter=None if self.is_base(model) else model,
            max_new_tokens=max_new_tokens or (room if most is None else min(room, most)),
            sampling=sampling,
            stop_texts=tuple(stop_texts),
        )
