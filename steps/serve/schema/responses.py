"""What the server answers, for its OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from argotune.steps.contracts.served import ADAPTER_HEADER


class ErrorDetail(BaseModel):
    """What is wrong, in OpenAI's form."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every response that is no success."""

    error: ErrorDetail
    request_id: str


class Health(BaseModel):
    """The server answers questions."""

    status: Literal["ok"]


class ModelObject(BaseModel):
    """A model that is served: an adapter, or the base model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    """Longest question and answer together, tokens."""
    parent: str | None = None
    """The base model of an adapter."""


class ModelList(BaseModel):
    """All models that are served."""

    object: Literal["list"]
    data: list[ModelObject]


class ChatAnswer(BaseModel):
    """The answer to a question."""

    response: str
    finish_reason: Literal["stop", "length"]
    """length: the answer was cut off."""


class Usage(BaseModel):
    """Numbers of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Logprob(BaseModel):
    """A token and the natural logarithm of its probability."""

    token: str
    bytes: list[int]
    logprob: float


class TokenLogprobs(Logprob):
    """A token of the answer, and the likeliest tokens at its place."""

    top_logprobs: list[Logprob]


class ChatLogprobs(BaseModel):
    """The tokens of an answer."""

    content: list[TokenLogprobs]
    refusal: None


class FunctionCall(BaseModel):
    """The function to call, with its arguments as JSON text."""

    name: str
    arguments: str


class ToolCallObject(BaseModel):
    """A call that the model makes."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class AnswerMessage(BaseModel):
    """What the model says."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCallObject] | None = None


class ChatChoice(BaseModel):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(BaseModel):
    """The answers to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class CompletionLogprobs(BaseModel):
    """The tokens of an answer, in lists of one item for each."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """One of the answers."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"]


class Completion(BaseModel):
    """The continuations of texts."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class OutputText(BaseModel):
    """A text of the answer."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprobs]


class OutputMessage(BaseModel):
    """What the model says."""

    type: Literal["message"]
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"]
    content: list[OutputText]


class OutputCall(BaseModel):
    """A call that the model makes, with its arguments as JSON text."""

    type: Literal["function_call"]
    id: str
    status: Literal["in_progress", "completed"]
    call_id: str
    name: str
    arguments: str


class ResponseUsage(BaseModel):
    """Numbers of tokens."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ResponseError(BaseModel):
    """Why an answer failed after its stream had begun."""

    code: Literal["server_error", "invalid_prompt"]
    message: str


class IncompleteDetails(BaseModel):
    """Why an answer was cut off."""

    reason: Literal["max_output_tokens"]


class ResponseObject(BaseModel):
    """The answer to a conversation, with what was asked."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    model: str
    output: list[OutputMessage | OutputCall]
    usage: ResponseUsage | None
    instructions: str | None
    max_output_tokens: int | None
    temperature: float
    top_p: float
    top_logprobs: int
    text: dict[str, Any]
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    background: Literal[False]
    store: Literal[False]
    previous_response_id: None
    metadata: dict[str, str]
    truncation: Literal["disabled"]


def errors(*statuses: str) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route: those named, or by default those of a route that answers."""
    described = {
        "4XX": "The request is refused, and asked again as it is would be again, except after 429",
        "5XX": "The server cannot answer now",
    }
    return {
        status: {"model": ErrorBody, "description": described[status]}
        for status in statuses or described
    }


def streamed(model: type[BaseModel]) -> dict[str, Any]:
    """A success that is an object, or with `stream` a stream of events."""
    return {
        "model": model,
        "description": "The answers; with `stream` events whose data are OpenAI's chunks",
        # Without a schema: of a stream some tools take it for that of each event.
        "content": {"text/event-stream": {}},
        "headers": {
            ADAPTER_HEADER: {
                "description": "Digest of the adapter that answered, where it is known",
                "schema": {"type": "string"},
            }
        },
    }
