"""The request of POST /v1/completions."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from argotune.steps.serve.parameters import (
    MostAnswers,
    RequestBody,
    Seed,
    StopTexts,
    Temperature,
    Tokens,
    TopP,
)
from argotune.steps.serve.schema.chat_completions import StreamOptions

_TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_MOST_PROMPTS = 32


class CompletionRequest(RequestBody):
    """Texts to be continued as they are, without a chat template."""

    model: str
    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=_MOST_PROMPTS)]
        | _TokenIds
        | Annotated[list[_TokenIds], Field(min_length=1, max_length=_MOST_PROMPTS)]
    )
    """One text or several; a control token of the model in it is that token. Or token ids."""
    max_tokens: Tokens | None = None
    """Most tokens of each answer; null: as many as the context holds, where OpenAI has 16."""
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    n: MostAnswers | None = None
    stop: StopTexts | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """Number of likeliest tokens to return for each position, beside the chosen one."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        return self

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, one or more, as texts or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt
