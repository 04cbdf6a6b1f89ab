"""Answers that are held to a JSON schema or to calls of tools, as a request asks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.exchange import Exchange, too_late
from argotune.steps.serve.grammar import (
    Calls,
    Function,
    calls_grammar,
    calls_or_json_grammar,
    json_grammar,
    text_with_calls_grammar,
)
from argotune.steps.serve.schema.chat_completions import ChatCompletionRequest
from argotune.steps.serve.schema.messages import Tool
from argotune.steps.serve.template import ServedTemplate

_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class AskedGrammar:
    """The grammar of an answer."""

    text: str
    param: str
    """The parameter that asks for it."""


async def hold(exchange: Exchange, grammar: AskedGrammar) -> Exchange:
    """The exchange with a constraint, made within its time. Raises ApiError."""
    conversations = exchange.service.ready.conversations
    try:
        constraint = await conversations.constraints.constraint(
            grammar.text,
            conversations.contract(exchange.model).stop_token_ids,
            param=grammar.param,
            deadline=exchange.deadline,
        )
    except TimeoutError as error:
        raise too_late(exchange.service) from error
    return replace(exchange, question=replace(exchange.question, constraint=constraint))


def grammar_of(body: ChatCompletionRequest, template: ServedTemplate) -> AskedGrammar | None:
    """The grammar of the answers; None: they are free. Raises ApiError 400."""
    schema = body.schema_of_answer
    if body.has_to_call:
        return AskedGrammar(calls_grammar(_calls(body, template, "tool_choice")), "tools")
    if schema is not None and body.offered:
        calls = _calls(body, template, "response_format beside tools")
        return AskedGrammar(calls_or_json_grammar(calls, schema), "response_format")
    if schema is not None:
        return AskedGrammar(json_grammar(schema), "response_format")
    if any(tool.function.strict for tool in body.offered):
        grammar = text_with_calls_grammar(_calls(body, template, "strict"))
        if grammar is None:
            raise ApiError(
                400,
                "tools: this model's calls have no tag, so that only tool_choice 'required', or a "
                "named one, can hold them to a strict schema",
                param="tools",
            )
        return AskedGrammar(grammar, "tools")
    return None


def _calls(body: ChatCompletionRequest, template: ServedTemplate, what: str) -> Calls:
    syntax = template.call_syntax
    if syntax is None:
        raise ApiError(
            400,
            f"tools: this model's chat template writes no calls, which {what} would need",
            param="tools",
        )
    return Calls(
        functions=[_function(tool) for tool in body.callable_tools],
        syntax=syntax,
        special_tokens=template.special_tokens,
        several=body.parallel_tool_calls is not False,
    )


def _function(tool: Tool) -> Function:
    parameters = tool.function.parameters or _NO_ARGUMENTS
    return Function(name=tool.function.name, parameters={"type": "object", **parameters})
