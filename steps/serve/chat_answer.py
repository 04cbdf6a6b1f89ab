"""The answers to a conversation: what both of OpenAI's routes for one do alike."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import AsyncGenerator
from dataclasses import replace

from argotune.steps.serve.engine.interface import Question
from argotune.steps.serve.exchange import Exchange, Part, exchanges_of, off_loop, sampling_of
from argotune.steps.serve.held_answer import AskedGrammar, grammar_of, hold
from argotune.steps.serve.schema.chat_completions import ChatCompletionRequest
from argotune.steps.serve.service import Service
from argotune.steps.tokens.tool_calls import Call, CallReader

_LETTERS = string.ascii_letters + string.digits


async def chat_exchanges(service: Service, body: ChatCompletionRequest) -> list[Exchange]:
    """The questions of a request. Raises ApiError."""
    question, grammar = await off_loop(service, lambda: _question(service, body))
    exchanges = exchanges_of(service, question, model=body.model, n=body.n)
    if grammar is None:
        return exchanges
    return [await hold(exchange, grammar) for exchange in exchanges]


def chat_parts(exchange: Exchange, body: ChatCompletionRequest) -> AsyncGenerator[Part]:
    """The answer of one as text and calls of the tools that the request offers."""
    offered = {tool.function.name for tool in body.offered}
    one_call = body.parallel_tool_calls is False
    return exchange.parts(CallReader(offered) if offered else None, one_call=one_call)


def new_call_id() -> str:
    """An id that every chat template accepts."""
    return "".join(secrets.choice(_LETTERS) for _ in range(9))


def arguments_of(call: Call) -> str:
    """The arguments of a call as JSON text."""
    return json.dumps(call.arguments, ensure_ascii=False)


def _question(
    service: Service, body: ChatCompletionRequest
) -> tuple[Question, AskedGrammar | None]:
    """The question and the grammar of its answer, if it has one. Raises ApiError."""
    conversations = service.ready.conversations
    tools = [tool.for_template() for tool in body.offered]
    contract = conversations.contract(body.model)
    question = conversations.question(
        [message.turn() for message in body.messages],
        model=body.model,
        max_new_tokens=body.most_tokens,
        sampling=sampling_of(contract, body, body.seed),
        stop_texts=body.stop or (),
        tools=tools or None,
    )
    question = replace(question, top_logprobs=(body.top_logprobs or 0) if body.logprobs else None)
    return question, grammar_of(body, conversations.template(body.model))
