"""The server as OpenAI's own client and LangChain use it, before a fake engine."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from openai import OpenAI

from argotune.steps.contracts.served import ADAPTER_HEADER
from tests.fakes.engine import ANSWER, FakeEngine
from tests.fakes.tokenizer import VOCABULARY, make_tokenizer
from tests.steps.serve.conftest import DIGEST, QUESTION, ToldEngine

USER = {"role": "user", "content": QUESTION}
TOWN = {
    "type": "object",
    "properties": {"town": {"enum": ["Bern"]}},
    "required": ["town"],
    "additionalProperties": False,
}
PLACE = {"title": "place", "description": "A place.", **TOWN}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather.", "parameters": TOWN},
}
TIME = {"type": "function", "function": {"name": "time"}}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"town": "Bern"}}\n</tool_call>'


def ask(client: OpenAI, **body: Any) -> Any:
    return client.chat.completions.create(**{"model": "demo", "messages": [USER], **body})


def refusal(client: OpenAI, **body: Any) -> str:
    """What the client raises for a request that is refused."""
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **body)
    return str(caught.value.body["message"])  # type: ignore[index]


def prompt_of(engine: FakeEngine) -> str:
    """The conversation of the last question as the model got it."""
    return str(engine.tokenizer.decode(engine.questions[-1].prompt))


def test_a_completion(client: OpenAI) -> None:
    answer = ask(client)
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_several_answers_have_seeds_that_follow_each_other(client: OpenAI) -> None:
    many = ask(client, n=3, seed=7, temperature=1.0, max_tokens=24)
    alone = [ask(client, seed=seed, temperature=1.0, max_tokens=24) for seed in (7, 8, 9)]
    texts = [choice.message.content for choice in many.choices]
    assert texts == [each.choices[0].message.content for each in alone]
    assert [choice.index for choice in many.choices] == [0, 1, 2]
    assert many.usage.prompt_tokens == alone[0].usage.prompt_tokens
    assert many.usage.completion_tokens == sum(each.usage.completion_tokens for each in alone)


def test_several_streams_come_mixed_and_are_told_apart(client: OpenAI) -> None:
    texts = ["", "", ""]
    ends = []
    stream = ask(client, n=3, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            ends += [choice.index] if choice.finish_reason else []
    assert texts == [ANSWER] * 3
    assert sorted(ends) == [0, 1, 2]
    assert chunk.usage.completion_tokens == 3 * ask(client).usage.completion_tokens


def test_log_probabilities_of_the_tokens(client: OpenAI) -> None:
    choice = ask(client, logprobs=True, top_logprobs=2).choices[0]
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens) == ANSWER
    assert bytes(tokens[0].bytes).decode() == tokens[0].token
    assert [len(token.top_logprobs) for token in tokens] == [2] * len(tokens)
    assert tokens[0].top_logprobs[0].logprob == tokens[0].logprob
    streamed = [
        token
        for chunk in ask(client, logprobs=True, top_logprobs=2, stream=True)
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content
    ]
    assert streamed == tokens


def test_an_answer_may_be_as_long_as_the_context(client: OpenAI, engine: ToldEngine) -> None:
    ask(client)
    (asked,) = engine.questions
    assert asked.max_new_tokens == 4096 - len(asked.prompt)


def test_plain_completions_continue_a_text_as_it_is(client: OpenAI, engine: ToldEngine) -> None:
    answer = client.completions.create(model="demo", prompt="<|user|>The", logprobs=1, max_tokens=5)
    assert ANSWER.startswith(answer.choices[0].text)
    assert answer.choices[0].finish_reason == "length"
    logprobs = answer.choices[0].logprobs
    assert "".join(logprobs.tokens) == answer.choices[0].text
    assert logprobs.text_offset[:2] == [0, len(logprobs.tokens[0])]
    assert prompt_of(engine) == "<|user|>The"
    assert engine.questions[-1].prompt[0] == 2  # the control token itself


def test_plain_completions_of_several_prompts_and_streams(client: OpenAI) -> None:
    asked = f"<|user|>{QUESTION}<|end|><|assistant|>"
    answer = client.completions.create(model="demo", prompt=[asked, asked], n=2)
    assert [(each.index, each.text) for each in answer.choices] == [
        (index, ANSWER) for index in range(4)
    ]
    ids = make_tokenizer()(asked)["input_ids"]
    texts = [
        chunk.choices[0].text
        for chunk in client.completions.create(model="demo", prompt=ids, stream=True)
    ]
    assert len(texts) > 3
    assert "".join(texts) == ANSWER
    with pytest.raises(openai.BadRequestError, match="token 300 is not one of the model's"):
        client.completions.create(model="demo", prompt=[VOCABULARY])


def test_models_are_listed_and_found_by_names_with_slashes(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo", "acme/random"]
    base = client.models.retrieve("acme/random").model_dump()
    assert (base["id"], base["max_model_len"]) == ("acme/random", 4096)
    assert client.models.retrieve("demo").model_dump()["parent"] == "acme/random"
    with pytest.raises(openai.NotFoundError, match="model 'nope' is not served here"):
        client.models.retrieve("nope")


def test_a_reply_names_the_adapter_that_answered(client: OpenAI, http: httpx.Client) -> None:
    raw = client.chat.completions.with_raw_response.create
    answers = [raw(model=model, messages=[USER]) for model in ("demo", "acme/random")]  # type: ignore[list-item]
    assert [each.headers.get(ADAPTER_HEADER) for each in answers] == [DIGEST, None]
    streamed = raw(model="demo", messages=[USER], stream=True)  # type: ignore[list-item]
    assert streamed.headers.get(ADAPTER_HEADER) == DIGEST
    streamed.http_response.read()
    assert http.post("/chat", json={"prompt": "x"}).headers[ADAPTER_HEADER] == DIGEST


def test_an_answer_of_a_schema(client: OpenAI) -> None:
    schema = {"type": "object", "properties": {"is": {"const": 4}}, "required": ["is"]}
    named = {"name": "number", "schema": {**schema, "additionalProperties": False}}
    answer = ask(client, response_format={"type": "json_schema", "json_schema": named})
    assert json.loads(answer.choices[0].message.content) == {"is": 4}
    assert answer.choices[0].finish_reason == "stop"


def test_a_schema_that_cannot_be_held_to_is_refused_with_the_reason(client: OpenAI) -> None:
    for schema, reason in (
        ({"not": {}}, 'Unimplemented keys: ["not"]'),
        ({"type": "strin"}, "Invalid type: strin"),
        ({"enum": ["x" * 70_000]}, "it is larger than 65536 bytes"),
    ):
        named = {"name": "number", "schema": schema}
        assert refusal(client, response_format={"type": "json_schema", "json_schema": named}) == (
            f"response_format: this server cannot hold an answer to it: {reason}"
        )


def test_a_call_of_a_tool_is_found_in_an_answer(client: OpenAI, engine: ToldEngine) -> None:
    engine.said = f"I look.\n{CALL}\n{CALL}"
    choice = ask(client, tools=[WEATHER]).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("I look.", "tool_calls")
    calls = choice.message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("weather", '{"town": "Bern"}')
    ] * 2
    assert calls[0].id != calls[1].id
    one = ask(client, tools=[WEATHER], parallel_tool_calls=False).choices[0]
    assert len(one.message.tool_calls) == 1
    assert '"description": "The weather."' in prompt_of(engine)
    without = ask(client, tools=[WEATHER], tool_choice="none").choices[0]
    assert without.message.content == engine.said
    assert "weather" not in prompt_of(engine)


def test_a_call_of_a_tool_in_a_stream(client: OpenAI, engine: ToldEngine) -> None:
    engine.said = f"I look.\n{CALL}"
    with client.chat.completions.stream(
        model="demo",
        messages=[USER],  # type: ignore[list-item]
        tools=[WEATHER],  # type: ignore[list-item]
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.content == "I look."
    (call,) = message.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("weather", '{"town": "Bern"}')


@pytest.mark.parametrize(
    ("choice", "name"),
    [({"type": "function", "function": {"name": "time"}}, "time"), ("required", None)],
)
def test_an_answer_that_has_to_be_a_call_is_one(
    client: OpenAI, choice: Any, name: str | None
) -> None:
    answer = ask(client, tools=[WEATHER, TIME], tool_choice=choice, parallel_tool_calls=False)
    (call,) = answer.choices[0].message.tool_calls
    arguments = {"weather": {"town": "Bern"}, "time": {}}
    assert call.function.name in ([name] if name else arguments)
    assert json.loads(call.function.arguments) == arguments[call.function.name]


def test_a_strict_tool_is_called_by_its_schema_or_not_at_all(
    client: OpenAI, engine: ToldEngine
) -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]
    engine.said = '<tool_call>\n{"name": "weather", "arguments": {"town": "Bonn"}}\n</tool_call>'
    for said, arguments in ((engine.said, '{"town": "Bern"}'), (ANSWER, None)):
        engine.said = said
        message = ask(client, tools=[strict], max_tokens=200).choices[0].message
        calls = message.tool_calls or []
        assert [call.function.arguments for call in calls][:1] == ([arguments] if arguments else [])
        assert "strict" not in prompt_of(engine)


def test_results_of_tools_are_said_to_the_model_as_in_training(
    client: OpenAI, engine: ToldEngine
) -> None:
    engine.said = CALL
    called = ask(client, tools=[WEATHER]).choices[0].message
    result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "rain"}
    engine.said = ANSWER
    ask(client, tools=[WEATHER], messages=[USER, called, result])
    assert f"<|assistant|>\n{CALL}<|end|>" in prompt_of(engine)
    assert "<tool_response>\nrain\n</tool_response>" in prompt_of(engine)
    assert refusal(client, messages=[USER, {**result, "tool_call_id": "other"}]) == (
        "messages.1.tool_call_id: no call before it has the id 'other'"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tool_choice": "required"}, "tool_choice needs tools"),
        ({"tools": [WEATHER, WEATHER]}, "tools: two of them have the same name"),
        ({"stream_options": {"include_usage": True}}, "stream_options needs stream: true"),
        ({"top_logprobs": 2}, "top_logprobs needs logprobs: true"),
        (
            {"messages": [{**USER, "name": "bob"}]},
            "messages: this model's chat template does not render name of role user",
        ),
        (
            {"max_tokens": 1, "max_completion_tokens": 2},
            "max_tokens is the older name of max_completion_tokens; give one",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    client: OpenAI, body: dict[str, Any], message: str
) -> None:
    assert refusal(client, **body) == message


def test_parameters_that_ask_for_nothing_are_accepted(client: OpenAI) -> None:
    nothing = {
        "presence_penalty": 0.0,
        "logit_bias": {},
        "modalities": ["text"],
        "audio": None,
        "logprobs": False,
        "top_logprobs": 0,
    }
    assert ask(client, **nothing).choices[0].message.content == ANSWER
    assert "frequency_penalty: this server has no such" in refusal(client, frequency_penalty=0.5)
    assert "presence_penalty: this server has no such" in refusal(client, presence_penalty=False)


def langchain(http: httpx.Client) -> ChatOpenAI:
    return ChatOpenAI(
        model="demo",
        base_url=f"{http.base_url}/v1",
        api_key="none",  # type: ignore[arg-type]
        max_retries=0,
        http_client=http,
    )


def test_langchain_asks_and_reads_streams_and_structured_answers(http: httpx.Client) -> None:
    model, conversation = langchain(http), [HumanMessage(QUESTION)]
    assert model.invoke(conversation).content == ANSWER
    assert "".join(str(chunk.content) for chunk in model.stream(conversation)) == ANSWER
    structured = model.with_structured_output(PLACE, method="json_schema")
    assert structured.invoke(conversation) == {"town": "Bern"}


def test_langchain_calls_tools(http: httpx.Client, engine: ToldEngine) -> None:
    model, conversation = langchain(http), [HumanMessage(QUESTION)]
    engine.said = CALL
    (call,) = model.bind_tools([WEATHER]).invoke(conversation).tool_calls
    assert (call["name"], call["args"]) == ("weather", {"town": "Bern"})
    structured = model.with_structured_output(PLACE, method="function_calling")
    assert structured.invoke(conversation) == {"town": "Bern"}


def test_head_cors_and_the_document(http: httpx.Client) -> None:
    head = http.head("/v1/models")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(http.get("/v1/models").content)
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    preflight = http.options("/v1/chat/completions", headers=asked)
    assert preflight.headers["access-control-allow-origin"] == asked["Origin"]
    other = http.options("/chat", headers={**asked, "Origin": "https://evil.example.com"})
    assert "access-control-allow-origin" not in other.headers
    document = http.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/chat",
        "/health",
        "/metrics",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/responses",
    }
    answers = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(answers) == {"200", "4XX", "5XX"}
    assert set(answers["200"]["content"]) == {"application/json", "text/event-stream"}


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        ({"messages": [USER]}, {"response": ANSWER, "finish_reason": "stop"}),
        (
            {"prompt": QUESTION, "generate_kwargs": {"max_new_tokens": 2, "do_sample": False}},
            {"response": "It stands", "finish_reason": "length"},
        ),
        (
            {
                "prompt": QUESTION,
                "return_full_text": True,
                "generate_kwargs": {"stop_strings": " s"},
            },
            {"response": f"{QUESTION}It", "finish_reason": "stop"},
        ),
    ],
)
def test_chat_takes_kaitos_older_forms(
    http: httpx.Client, body: dict[str, Any], reply: dict[str, Any]
) -> None:
    assert http.post("/chat", json=body).json() == reply


def test_kaitos_max_length_counts_the_question_too(http: httpx.Client, engine: ToldEngine) -> None:
    http.post("/chat", json={"prompt": "x", "generate_kwargs": {"max_length": 20}})
    (asked,) = engine.questions
    assert len(asked.prompt) + asked.max_new_tokens == 20
    refused = http.post("/chat", json={"prompt": "x", "generate_kwargs": {"top_k": 5}})
    assert refused.json()["error"]["param"] == "generate_kwargs.top_k"
