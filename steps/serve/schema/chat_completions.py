"""The request of POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from argotune.steps.serve.parameters import StrictModel, Tokens
from argotune.steps.serve.schema.messages import Message, Name, Tool, ToolMessage
from argotune.steps.serve.schema.openai_body import OpenAIBody

_ANY_OBJECT: dict[str, Any] = {"type": "object"}


class TextFormat(StrictModel):
    """A free answer."""

    type: Literal["text"]


class JsonFormat(StrictModel):
    """An answer that is a JSON object."""

    type: Literal["json_object"]


class NamedSchema(StrictModel):
    """A JSON schema with a name. An answer is always valid by it, with `strict` or without."""

    name: Name
    description: str | None = None
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class SchemaFormat(StrictModel):
    """An answer that is JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class ChosenFunction(StrictModel):
    """The name of a function."""

    name: str


class ChosenTool(StrictModel):
    """The tool that has to be called."""

    type: Literal["function"]
    function: ChosenFunction


class ChatCompletionRequest(OpenAIBody):
    """A conversation to be continued."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Tokens | None = None
    """Most tokens of each answer; null: as many as the context holds."""
    max_tokens: Tokens | None = None
    """The older name of max_completion_tokens."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: Annotated[
        TextFormat | JsonFormat | SchemaFormat | None, Field(discriminator="type")
    ] = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    """auto, the default with tools: the model decides; none: the model is told of no tools."""
    parallel_tool_calls: bool | None = None
    """false: an answer ends after its first call."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if None not in (self.max_tokens, self.max_completion_tokens):
            raise ValueError("max_tokens is the older name of max_completion_tokens; give one")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        self._check_tools()
        return self

    def _check_tools(self) -> None:
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise ValueError("tools: two of them have the same name")
        if self.tool_choice not in (None, "none", "auto") and not names:
            raise ValueError("tool_choice needs tools")
        if isinstance(self.tool_choice, ChosenTool) and self.tool_choice.function.name not in names:
            raise ValueError(
                f"tool_choice: {self.tool_choice.function.name!r} is not among the tools"
            )
        known = {call.id for message in self.messages for call in _calls_of(message)}
        for number, message in enumerate(self.messages):
            if isinstance(message, ToolMessage) and message.tool_call_id not in known:
                raise ValueError(
                    f"messages.{number}.tool_call_id: no call before it has the id "
                    f"{message.tool_call_id!r}"
                )

    @property
    def most_tokens(self) -> int | None:
        """Most tokens of an answer by either name."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def offered(self) -> list[Tool]:
        """The tools that the model is told of."""
        return [] if self.tool_choice == "none" else self.tools or []

    @property
    def callable_tools(self) -> list[Tool]:
        """Those of the offered tools that it may call."""
        if not isinstance(self.tool_choice, ChosenTool):
            return self.offered
        chosen = self.tool_choice.function.name
        return [tool for tool in self.offered if tool.function.name == chosen]

    @property
    def has_to_call(self) -> bool:
        """Whether the answer has to be a call."""
        return self.tool_choice == "required" or isinstance(self.tool_choice, ChosenTool)

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        """JSON schema of the answer's text; None: it is free."""
        match self.response_format:
            case SchemaFormat(json_schema=named):
                return named.json_schema
            case JsonFormat():
                return _ANY_OBJECT
            case _:
                return None


def _calls_of(message: Message) -> list[Any]:
    return getattr(message, "tool_calls", None) or []
