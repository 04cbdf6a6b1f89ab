"""What a served model's chat template can render: tools, their calls, and which fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.errors import ApiError
from argotune.steps.tokens.call_syntax import CallSyntax, find_call_syntax
from argotune.steps.tokens.spans import render_text
from argotune.steps.tokens.template_fields import fields_of, find_rendered_fields


class ServedTemplate:
    """The template of a serving contract, of which is found out only what a request needs."""

    def __init__(self, contract: ServingContract, tokenizer: Any) -> None:
        self._source = contract.chat_template
        self._end_of_turn = contract.stop_tokens[0]
        self._names = {name: str(text) for name, text in tokenizer.special_tokens_map.items()}
        self.special_tokens: Mapping[str, int] = {
            token.content: number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        """Ids of the tokenizer's special tokens."""

    @cached_property
    def call_syntax(self) -> CallSyntax | None:
        """How it writes calls of tools; None if it writes none."""
        return find_call_syntax(self._render, self._end_of_turn)

    def check(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
    ) -> None:
        """Raise ApiError 400 for what the template would leave out without a word."""
        row = Conversation(messages=messages, tools=tools)
        unknown = next((n for n in fields_of(row) if n not in self._rendered_fields), None)
        if unknown is not None:
            param = "tools" if unknown == "tools" else "messages"
            raise ApiError(
                400, f"{param}: this model's chat template does not render {unknown}", param=param
            )

    @cached_property
    def _rendered_fields(self) -> frozenset[str]:
        return find_rendered_fields(lambda row: self._render(row, False))

    def _render(self, row: Conversation, opens_answer: bool) -> str:
        return render_text(self._source, row, self._names, add_generation_prompt=opens_answer)
