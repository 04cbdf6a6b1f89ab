"""OpenAI's responses as its own client and LangChain ask for them, before a fake engine."""

from __future__ import annotations

import json
from typing import Any, Literal

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from openai import OpenAI
from pydantic import BaseModel

from argotune.steps.contracts.served import ADAPTER_HEADER
from tests.fakes.engine import ANSWER, FakeEngine
from tests.steps.serve.conftest import DIGEST, QUESTION, ToldEngine

TOWN = {
    "type": "object",
    "properties": {"town": {"enum": ["Bern"]}},
    "required": ["town"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather.",
    "parameters": TOWN,
    "strict": False,
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"town": "Bern"}}\n</tool_call>'
ASKED = {"model": "demo", "input": QUESTION}
ITEM = ["response.output_item.added", "response.output_item.done"]


def respond(client: OpenAI, **body: Any) -> Any:
    return client.responses.create(**{**ASKED, **body})


def prompt_of(engine: FakeEngine) -> str:
    """The conversation of the last question as the model got it."""
    return str(engine.tokenizer.decode(engine.questions[-1].prompt))


def refusal(client: OpenAI, **body: Any) -> tuple[str, str | None]:
    """Message and parameter of what the client raises for a request that is refused."""
    with pytest.raises(openai.BadRequestError) as caught:
        respond(client, **body)
    error: Any = caught.value.body
    return error["message"], error["param"]


def test_a_text_is_answered(client: OpenAI, engine: ToldEngine) -> None:
    response = respond(client, instructions="Be kind.", temperature=0.0, top_p=0.5)
    assert (response.output_text, response.status) == (ANSWER, "completed")
    assert (response.temperature, response.top_p, response.store) == (0.0, 0.5, False)
    usage = response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.input_tokens == len(engine.questions[-1].prompt)
    assert "Be kind." in prompt_of(engine)
    raw = client.responses.with_raw_response.create(model="demo", input="x")
    assert raw.headers[ADAPTER_HEADER] == DIGEST


def test_a_conversation_of_items_is_that_of_chat_completions(
    client: OpenAI, engine: ToldEngine
) -> None:
    said = respond(client).output
    parts = [{"type": "input_text", "text": "And "}, {"type": "input_text", "text": "now?"}]
    question = {"role": "user", "content": QUESTION}
    respond(client, input=[question, *said, {"role": "user", "content": parts}])
    by_items = engine.questions[-1].prompt
    turns: list[Any] = [
        question,
        {"role": "assistant", "content": ANSWER},
        {"role": "user", "content": "And now?"},
    ]
    client.chat.completions.create(model="demo", messages=turns)
    assert engine.questions[-1].prompt == by_items


def test_an_answer_that_is_cut_says_so(client: OpenAI) -> None:
    response = respond(client, max_output_tokens=2)
    assert (response.status, response.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    assert response.output[0].status == "incomplete"
    *_, last = respond(client, max_output_tokens=2, stream=True)
    assert (last.type, last.response.output_text) == (
        "response.incomplete",
        response.output_text,
    )


def test_the_events_of_a_stream_come_in_openais_order(client: OpenAI) -> None:
    events = list(respond(client, stream=True))
    kinds = [event.type for event in events]
    assert [kind for kind in kinds if kind != "response.output_text.delta"] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert (len(deltas) > 3, "".join(deltas)) == (True, ANSWER)
    assert kinds[4] == kinds[-5] == "response.output_text.delta"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].response.output == []
    last = events[-1].response
    assert last.id == events[0].response.id
    assert last.output == [events[-2].item]
    whole = respond(client)
    assert (last.output_text, last.usage) == (whole.output_text, whole.usage)


def test_log_probabilities_of_the_tokens(client: OpenAI, engine: ToldEngine) -> None:
    asked: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    response = respond(client, **asked)
    (message,) = response.output
    tokens = message.content[0].logprobs
    assert "".join(token.token for token in tokens) == ANSWER
    assert bytes(tokens[0].bytes).decode() == tokens[0].token
    assert [len(token.top_logprobs) for token in tokens] == [2] * len(tokens)
    assert tokens[0].top_logprobs[0].logprob == tokens[0].logprob
    assert response.top_logprobs == 2
    events = list(respond(client, stream=True, **asked))
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    # The client's types of events leave the bytes out.
    assert [(each.token, each.logprob) for event in deltas for each in event.logprobs] == [
        (each.token, each.logprob) for each in tokens
    ]
    assert events[-1].response.output[0].content[0].logprobs == tokens
    # As it was, it is sent again.
    respond(client, input=[{"role": "user", "content": QUESTION}, *response.output])
    assert ANSWER in prompt_of(engine)
    assert respond(client).output[0].content[0].logprobs == []


def test_calls_of_functions_are_items(client: OpenAI, engine: ToldEngine) -> None:
    engine.said = f"I look.\n{CALL}\n{CALL}"
    message, first, second = respond(client, tools=[WEATHER]).output
    assert message.content[0].text == "I look."
    assert (first.name, first.arguments) == ("weather", '{"town": "Bern"}')
    assert first.call_id != second.call_id
    assert len(respond(client, tools=[WEATHER], parallel_tool_calls=False).output) == 2
    assert '"description": "The weather."' in prompt_of(engine)


def test_a_call_in_a_stream(client: OpenAI, engine: ToldEngine) -> None:
    engine.said = f"I look.\n{CALL}"
    with client.responses.stream(model="demo", input="x", tools=[WEATHER]) as stream:  # type: ignore[list-item]
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events if event.type != "response.output_text.delta"]
    assert kinds[2:-1] == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    message, call = final.output
    assert message.type == "message"
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"town": "Bern"}


def test_results_of_functions_are_said_to_the_model_as_in_training(
    client: OpenAI, engine: ToldEngine
) -> None:
    engine.said = f"I look.\n{CALL}"
    asked: list[Any] = [{"role": "user", "content": QUESTION}]
    called = respond(client, input=asked, tools=[WEATHER]).output
    result = {"type": "function_call_output", "call_id": called[-1].call_id, "output": "rain"}
    engine.said = ANSWER
    respond(client, input=[*asked, *called, result], tools=[WEATHER])
    assert f"<|assistant|>\nI look.\n{CALL}<|end|>" in prompt_of(engine)
    assert "<tool_response>\nrain\n</tool_response>" in prompt_of(engine)
    message, _ = refusal(client, input=[*asked, {**result, "call_id": "other"}])
    assert message == "input.1.call_id: no call before it has the id 'other'"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
def test_an_answer_that_has_to_be_a_call_is_one(client: OpenAI, choice: Any) -> None:
    response = respond(client, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)
    assert [item.type for item in response.output] == ["function_call"]
    assert json.loads(response.output[0].arguments) == {"town": "Bern"}


class Town(BaseModel):
    town: Literal["Bern"]


def test_an_answer_of_a_schema(client: OpenAI) -> None:
    form = {"type": "json_schema", "name": "town", "schema": TOWN, "strict": True}
    response = respond(client, text={"format": form})
    assert json.loads(response.output_text) == {"town": "Bern"}
    assert response.text.format.name == "town"
    parsed = client.responses.parse(model="demo", input="x", text_format=Town)
    assert parsed.output_parsed == Town(town="Bern")
    free = respond(client, text={"format": {"type": "json_object"}}, max_output_tokens=9)
    assert free.output_text.startswith("{")
    bad = {"type": "json_schema", "name": "x", "schema": {"not": {}}}
    assert refusal(client, text={"format": bad}) == (
        'text.format: this server cannot hold an answer to it: Unimplemented keys: ["not"]',
        "text.format",
    )


KEPT = "this server keeps no answers; leave it out, and send the whole conversation as input"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"previous_response_id": "resp_1"}, f"previous_response_id: {KEPT}"),
        ({"store": True}, f"store: {KEPT}"),
        ({"store": 0}, f"store: {KEPT}"),
        ({"background": True}, f"background: {KEPT}"),
        ({"conversation": "conv_1"}, f"conversation: {KEPT}"),
        (
            {"include": ["file_search_call.results"]},
            "include.0: Input should be 'message.output_text.logprobs'",
        ),
        ({"top_logprobs": 2}, 'top_logprobs needs include: ["message.output_text.logprobs"]'),
        (
            {"top_logprobs": 21, "include": ["message.output_text.logprobs"]},
            "top_logprobs: Input should be less than or equal to 20",
        ),
        ({"input": []}, "input: List should have at least 1 item after validation, not 0"),
        ({"tools": [WEATHER, WEATHER]}, "tools: two of them have the same name"),
        (
            {"tools": [{"type": "web_search"}]},
            "tools.0.name: Field required; tools.0.type: Input should be 'function'",
        ),
        ({"tool_choice": "required"}, "tool_choice needs tools"),
        (
            {"stream_options": {"include_obfuscation": False}},
            "stream_options needs stream: true",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
            "input.0.content: the parts of role user are of type input_text",
        ),
    ],
)
def test_what_is_not_done_here_is_refused_by_name(
    client: OpenAI, body: dict[str, Any], message: str
) -> None:
    assert refusal(client, **body)[0] == message


def test_what_the_chat_path_refuses_has_the_names_of_this_route(client: OpenAI) -> None:
    assert refusal(client, input="x" * 9000) == (
        "the conversation has 9006 tokens; the limit for conversation and answer is 4096",
        "input",
    )


def test_state_that_is_not_asked_for_is_accepted(client: OpenAI) -> None:
    nothing = {"store": False, "background": False, "previous_response_id": None, "include": []}
    assert respond(client, **nothing, metadata={"team": "a"}).output_text == ANSWER


def test_an_unknown_item_is_refused_with_those_that_are_known(client: OpenAI) -> None:
    message, param = refusal(client, input=[{"type": "item_reference", "id": "x"}])
    assert (message, param) == (
        "input.0: 'item_reference' is none of 'message', 'function_call', 'function_call_output'",
        "input.0",
    )


def test_a_stream_that_fails_ends_with_the_reason(client: OpenAI, engine: ToldEngine) -> None:
    engine.error = "out of everything"
    try:
        *_, last = respond(client, stream=True)
        with pytest.raises(openai.InternalServerError):
            respond(client)
    finally:
        engine.error = None
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert last.response.error.code == "server_error"


def test_langchain_asks_by_responses(http: httpx.Client, engine: ToldEngine) -> None:
    model = ChatOpenAI(
        model="demo",
        base_url=f"{http.base_url}/v1",
        api_key="none",  # type: ignore[arg-type]
        max_retries=0,
        http_client=http,
        use_responses_api=True,
    )
    conversation = [HumanMessage(QUESTION)]
    answer = model.invoke(conversation)
    assert answer.text == ANSWER
    assert "".join(chunk.text for chunk in model.stream(conversation)) == ANSWER
    assert model.invoke([*conversation, answer, *conversation]).text == ANSWER
    engine.said = CALL
    (call,) = model.bind_tools([WEATHER]).invoke(conversation).tool_calls
    assert (call["name"], call["args"]) == ("weather", {"town": "Bern"})
