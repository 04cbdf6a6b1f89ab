"""Messages and tools of a conversation, and their form for chat templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Tag,
    model_validator,
)

from argotune.steps.contracts.json_schema import read_json
from argotune.steps.serve.parameters import StrictModel

Turn = dict[str, Any]
"""A message in the form of the chat template: role, content, and what else it has."""


class TextPart(StrictModel):
    """A text part of a message's content; images and audio are refused."""

    type: Literal["text"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def _check_type(cls, value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind != "text":
            raise ValueError(f"a part of type {kind!r}; the model reads text alone")
        return value


def form_of_content(value: Any) -> str:
    """Which of its two forms a content has, so that only that is found fault with."""
    return "parts" if isinstance(value, list) else "text"


Text = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[TextPart], Field(min_length=1), Tag("parts")],
    Discriminator(form_of_content),
]


class SystemMessage(StrictModel):
    """What the model is told before the conversation."""

    role: Literal["system", "developer"]
    content: Text
    name: str | None = None

    def turn(self) -> Turn:
        """The message for the chat template; templates know no `developer`."""
        return _turn("system", content=text_of(self.content), name=self.name)


class UserMessage(StrictModel):
    """What the user says."""

    role: Literal["user"]
    content: Text
    name: str | None = None

    def turn(self) -> Turn:
        """The message for the chat template."""
        return _turn("user", content=text_of(self.content), name=self.name)


def check_arguments(arguments: str) -> str:
    """The arguments of a call. Raises ValueError unless they are a JSON object."""
    if not isinstance(read_json(arguments), dict):
        raise ValueError("no JSON object")
    return arguments


class CalledFunction(StrictModel):
    """The function of a call, with its arguments as JSON text."""

    name: Annotated[str, Field(min_length=1)]
    arguments: Annotated[str, AfterValidator(check_arguments)]


class ToolCall(StrictModel):
    """A call that the model made earlier."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction

    def for_template(self) -> dict[str, Any]:
        """The call as training had it, with its arguments as an object."""
        arguments = json.loads(self.function.arguments)
        function = {"name": self.function.name, "arguments": arguments}
        return {"id": self.id, "type": self.type, "function": function}


class AssistantMessage(StrictModel):
    """What the model said, in words, calls of tools, or both."""

    role: Literal["assistant"]
    content: Text | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None
    reasoning_content: str | None = None
    # A message of an answer has these, and is sent again as it was.
    refusal: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None

    @model_validator(mode="after")
    def _check_something_is_said(self) -> Self:
        if self.content is None and self.tool_calls is None:
            raise ValueError("it has neither content nor tool_calls")
        return self

    def turn(self) -> Turn:
        """The message for the chat template."""
        calls = None if self.tool_calls is None else [c.for_template() for c in self.tool_calls]
        return _turn(
            "assistant",
            content="" if self.content is None else text_of(self.content),
            name=self.name,
            tool_calls=calls,
            reasoning_content=self.reasoning_content,
        )


class ToolMessage(StrictModel):
    """What a tool returned."""

    role: Literal["tool"]
    content: Text
    tool_call_id: str
    name: str | None = None

    def turn(self) -> Turn:
        """The message for the chat template."""
        return _turn(
            "tool",
            content=text_of(self.content),
            tool_call_id=self.tool_call_id,
            name=self.name,
        )


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class FunctionOfTool(StrictModel):
    """A function that the model may call."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """JSON schema of its arguments."""
    strict: bool | None = None
    """Whether a call's arguments have to be valid by `parameters`."""

    @model_validator(mode="after")
    def _check_arguments_are_an_object(self) -> Self:
        if self.parameters and self.parameters.get("type", "object") != "object":
            raise ValueError("the arguments of a function are an object: parameters.type: object")
        return self


class KeptModel(StrictModel):
    """A part of a body whose members a template writes in the order in which they came."""

    _given: Mapping[str, Any] = PrivateAttr()

    @model_validator(mode="wrap")
    @classmethod
    def _keep_as_given(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        model = handler(value)
        model._given = value
        return model


class Tool(KeptModel):
    """A tool that the model may use."""

    type: Literal["function"]
    function: FunctionOfTool

    def for_template(self) -> dict[str, Any]:
        """The tool as training had it: the template writes its members in the order given."""
        function = {
            name: part for name, part in self._given["function"].items() if name != "strict"
        }
        return {**self._given, "function": function}


def text_of(content: Text) -> str:
    """The text of a content, whose parts follow each other without anything between."""
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _turn(role: str, **fields: Any) -> Turn:
    return {"role": role} | {name: part for name, part in fields.items() if part is not None}
