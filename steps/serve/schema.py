"""Request bodies with OpenAI's names; unsupported fields are rejected, not ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from argotune.steps.serve.parameters import (
    RequestBody,
    Seed,
    StrictModel,
    Temperature,
    Tokens,
    TopP,
)


class ChatRequest(RequestBody):
    """POST /chat: one question without a history."""

    prompt: Annotated[str, Field(min_length=1)]
    system: str | None = None
    model: str | None = None
    max_new_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None

    def messages(self) -> list[dict[str, str]]:
        """The conversation as messages."""
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, {"role": "user", "content": self.prompt}]


class TextPart(StrictModel):
    """A text part of a message's content; images and audio are rejected."""

    type: Literal["text"]
    text: str


class ChatMessage(StrictModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def turn(self) -> dict[str, str]:
        """The message in the form of the chat template."""
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return {"role": role, "content": self.content}
        return {"role": role, "content": "".join(part.text for part in self.content)}


class StreamOptions(StrictModel):
    """Options of a streamed answer."""

    include_usage: bool = False


_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "modalities": (None, ["text"]),
    "audio": (None,),
}
"""Unsupported fields that would change the answer, with their values that have no effect."""


class CompletionRequest(RequestBody):
    """POST /v1/chat/completions."""

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        asked = [
            name
            for name, harmless in _UNSUPPORTED.items()
            if name in values and values[name] not in harmless
        ]
        if asked:
            raise ValueError(f"this server does not support {', '.join(asked)}")
        return values

    def stop_texts(self) -> list[str]:
        """`stop` as a list."""
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop
