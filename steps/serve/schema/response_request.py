"""The request of POST /v1/responses, as the chat completion that it is here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)

from argotune.steps.serve.parameters import (
    HARMLESS,
    RequestBody,
    StrictModel,
    Temperature,
    Tokens,
    TopP,
    is_among,
)
from argotune.steps.serve.schema.chat_completions import (
    ChatCompletionRequest,
    JsonFormat,
    NamedSchema,
    TextFormat,
)
from argotune.steps.serve.schema.messages import (
    FunctionOfTool,
    KeptModel,
    Name,
    check_arguments,
    form_of_content,
)

_STATE: Mapping[str, tuple[Any, ...]] = MappingProxyType({
    "background": (None, False),
    "conversation": (None,),
    "previous_response_id": (None,),
    "prompt": (None,),
    "store": (None, False),
})  # fmt: skip
"""What needs a server that keeps answers, with the values that do not."""

_Status = Literal["in_progress", "completed", "incomplete"]


class InputText(StrictModel):
    """A text part of what is asked; images and files are refused."""

    type: Literal["input_text"]
    text: str


class OutputText(StrictModel):
    """A text part of an answer, sent again as it was."""

    type: Literal["output_text"]
    text: str
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    logprobs: list[Any] | None = None
    """Accepted without effect: what the model is told is the text."""


_Part = Annotated[InputText | OutputText, Field(discriminator="type")]


class InputMessage(StrictModel):
    """A message of the conversation."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[str, Tag("text")] | Annotated[list[_Part], Field(min_length=1), Tag("parts")],
        Discriminator(form_of_content),
    ]
    id: str | None = None
    status: _Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class InputCall(StrictModel):
    """A call of a function that the model made earlier."""

    type: Literal["function_call"]
    call_id: str
    name: Annotated[str, Field(min_length=1)]
    arguments: Annotated[str, AfterValidator(check_arguments)]
    id: str | None = None
    status: _Status | None = None


class InputResult(StrictModel):
    """What a function returned."""

    type: Literal["function_call_output"]
    call_id: str
    output: Annotated[
        Annotated[str, Tag("text")] | Annotated[list[InputText], Field(min_length=1), Tag("parts")],
        Discriminator(form_of_content),
    ]
    id: str | None = None
    status: _Status | None = None


def _kind(item: Any) -> Any:
    """The type of an item; a message may leave it out."""
    if isinstance(item, dict):
        return item.get("type", "message")
    return getattr(item, "type", "message")


_Item = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[InputCall, Tag("function_call")]
    | Annotated[InputResult, Tag("function_call_output")],
    Discriminator(_kind),
]
_Items = Annotated[list[_Item], Field(min_length=1)]


def _as_items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class FunctionTool(KeptModel, FunctionOfTool):
    """A function that the model may call."""

    type: Literal["function"]

    def as_chat(self) -> dict[str, Any]:
        """The tool in the form of chat completions, with its members in the order given."""
        function = {name: part for name, part in self._given.items() if name != "type"}
        return {"type": "function", "function": function}


class ChosenFunctionTool(StrictModel):
    """The function that has to be called."""

    type: Literal["function"]
    name: Name


class ResponseSchemaFormat(NamedSchema):
    """An answer that is JSON of a schema."""

    type: Literal["json_schema"]


class TextOptions(StrictModel):
    """The form of the answer's text."""

    format: Annotated[
        TextFormat | JsonFormat | ResponseSchemaFormat | None, Field(discriminator="type")
    ] = None
    verbosity: Literal["medium"] | None = None


class ResponseStreamOptions(StrictModel):
    """Options of a streamed answer."""

    include_obfuscation: bool | None = None
    """Accepted without effect: no event is padded."""


class ResponseRequest(RequestBody):
    """A conversation to be answered, all of it, because the server keeps none."""

    harmless: ClassVar[Mapping[str, str]] = {
        name: text for name, text in HARMLESS.items() if name != "store"
    }
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **_STATE,
        "context_management": (None, []),
        "max_tool_calls": (None,),
        "reasoning": (None,),
        "truncation": (None, "disabled"),
    }

    model: str
    input: Annotated[_Items, BeforeValidator(_as_items, json_schema_input_type=str | _Items)]
    """A question as text, or the items of a conversation."""
    instructions: str | None = None
    """What the model is told before the conversation."""
    max_output_tokens: Tokens | None = None
    """Most tokens of the answer; null: as many as the context holds."""
    temperature: Temperature | None = None
    top_p: TopP | None = None
    include: list[Literal["message.output_text.logprobs"]] | None = None
    """What the answer has beside its text: the log probabilities of its tokens."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """Number of the likeliest tokens beside each of these."""
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenFunctionTool | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    _chat: ChatCompletionRequest = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _refuse_state(cls, values: Any) -> Any:
        for name, accepted in _STATE.items() if isinstance(values, dict) else ():
            if not is_among(values.get(name), accepted):
                raise ValueError(
                    f"{name}: this server keeps no answers; leave it out, and send the whole "
                    "conversation as input"
                )
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        if self.top_logprobs and not self.include:
            raise ValueError('top_logprobs needs include: ["message.output_text.logprobs"]')
        self._check_items()
        try:
            self._chat = ChatCompletionRequest.model_validate(self._as_chat())
        # What is left for it to refuse is what does not go together.
        except ValidationError as error:
            found = [str(each["msg"]).removeprefix("Value error, ") for each in error.errors()]
            raise ValueError("; ".join(found)) from error
        return self

    def chat(self) -> ChatCompletionRequest:
        """The same request as a chat completion."""
        return self._chat

    def _check_items(self) -> None:
        known: set[str] = set()
        for number, item in enumerate(self.input):
            match item:
                case InputCall():
                    known.add(item.call_id)
                case InputResult() if item.call_id not in known:
                    raise ValueError(
                        f"input.{number}.call_id: no call before it has the id {item.call_id!r}"
                    )
                case InputMessage(content=list(parts)):
                    wanted = "output_text" if item.role == "assistant" else "input_text"
                    if any(part.type != wanted for part in parts):
                        raise ValueError(
                            f"input.{number}.content: the parts of role {item.role} are of type "
                            f"{wanted}"
                        )

    def _as_chat(self) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": list(self._messages()),
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "logprobs": bool(self.include),
            "top_logprobs": self.top_logprobs if self.include else None,
            "tools": None if self.tools is None else [tool.as_chat() for tool in self.tools],
            "parallel_tool_calls": self.parallel_tool_calls,
        }
        match self.tool_choice:
            case ChosenFunctionTool(name=name):
                asked["tool_choice"] = {"type": "function", "function": {"name": name}}
            case choice:
                asked["tool_choice"] = choice
        match self.text.format if self.text else None:
            case ResponseSchemaFormat() as named:
                form = named.model_dump(by_alias=True, exclude={"type"})
                asked["response_format"] = {"type": "json_schema", "json_schema": form}
            case JsonFormat():
                asked["response_format"] = {"type": "json_object"}
        return asked

    def _messages(self) -> Iterator[dict[str, Any]]:
        """The messages of the conversation; calls belong to the message before them."""
        if self.instructions is not None:
            yield {"role": "system", "content": self.instructions}
        said: dict[str, Any] | None = None
        for item in self.input:
            if isinstance(item, InputCall):
                said = said or {"role": "assistant"}
                said.setdefault("tool_calls", []).append(_call(item))
                continue
            if said is not None:
                yield said
                said = None
            if isinstance(item, InputResult):
                content = _text(item.output)
                yield {"role": "tool", "tool_call_id": item.call_id, "content": content}
            elif item.role == "assistant":
                said = {"role": "assistant", "content": _text(item.content)}
            else:
                yield {"role": item.role, "content": _text(item.content)}
        if said is not None:
            yield said


def _call(item: InputCall) -> dict[str, Any]:
    function = {"name": item.name, "arguments": item.arguments}
    return {"id": item.call_id, "type": "function", "function": function}


def _text(content: str | list[InputText] | list[InputText | OutputText]) -> str:
    """The text of a content, whose parts follow each other without anything between."""
    return content if isinstance(content, str) else "".join(part.text for part in content)
