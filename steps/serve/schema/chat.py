"""The request of POST /chat: a question, in argotune's form or in Kaito's older one."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from argotune.steps.serve.parameters import (
    RequestBody,
    Seed,
    StopTexts,
    StrictModel,
    Temperature,
    Tokens,
    TopP,
)
from argotune.steps.serve.schema.messages import Message, Turn


class GenerateKwargs(StrictModel):
    """The arguments of transformers' `generate` that are the same here."""

    max_new_tokens: Tokens | None = None
    max_length: Tokens | None = None
    """Most tokens of question and answer together."""
    do_sample: bool | None = None
    """false: always the likeliest token."""
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stop_strings: StopTexts | None = None


class ChatRequest(RequestBody):
    """One question, or a conversation."""

    prompt: Annotated[str, Field(min_length=1)] | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    """A conversation in place of `prompt`, as Kaito's older servers take it."""
    system: str | None = None
    model: str | None = None
    max_new_tokens: Tokens | None = None
    """Most tokens of the answer; null: as many as the context holds."""
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    generate_kwargs: GenerateKwargs | None = None
    return_full_text: bool | None = None
    """Whether the answer begins with the prompt."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        if self.messages is not None and self.system is not None:
            raise ValueError("system: give it as the first of messages")
        if self.messages is not None and self.return_full_text:
            raise ValueError("return_full_text needs prompt")
        given = self.generate_kwargs
        for name in ("max_new_tokens", "temperature", "top_p"):
            if given and None not in (getattr(given, name), getattr(self, name)):
                raise ValueError(f"{name} is given twice, also in generate_kwargs")
        return self

    def turns(self) -> list[Turn]:
        """The conversation for the chat template."""
        if self.messages is not None:
            return [message.turn() for message in self.messages]
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, {"role": "user", "content": self.prompt}]

    @property
    def arguments(self) -> GenerateKwargs:
        """What is asked for in either place."""
        given = self.generate_kwargs or GenerateKwargs()
        temperature = given.temperature if self.temperature is None else self.temperature
        return given.model_copy(
            update={
                "max_new_tokens": self.max_new_tokens or given.max_new_tokens,
                "temperature": 0.0 if given.do_sample is False else temperature,
                "top_p": given.top_p if self.top_p is None else self.top_p,
            }
        )
