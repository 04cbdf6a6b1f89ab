"""The request of POST /v1/completions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from argotune.steps.serve.parameters import Tokens
from argotune.steps.serve.schema.openai_body import OpenAIBody

_TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_MOST_PROMPTS = 32


class CompletionRequest(OpenAIBody):
    """Texts to be continued as they are, without a chat template."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=_MOST_PROMPTS)]
        | _TokenIds
        | Annotated[list[_TokenIds], Field(min_length=1, max_length=_MOST_PROMPTS)]
    )
    """One text or several; a control token of the model in it is that token. Or token ids."""
    max_tokens: Tokens | None = None
    """Most tokens of each answer; null: as many as the context holds, where OpenAI has 16."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """Number of likeliest tokens to return for each position, beside the chosen one."""

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, one or more, as texts or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt
