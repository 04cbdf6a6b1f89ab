"""What templates render, as it is found out, and the rows that are refused for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.tokens.spans import TemplateMismatch
from argotune.steps.tokens.template import ChatTemplate, chat_template
from argotune.steps.tokens.tokenise import read_rows
from tests.steps.tokens.kinds import (
    NAMES_TEMPLATE,
    REASONING_TEMPLATE,
    TINY_TEMPLATE,
    tokenizer_for,
)
from tests.steps.tune.models import MARKED_TEMPLATE, conversation, make_tokenizer, write_rows
from tests.steps.tune.traps.published import PUBLISHED, tokenizer_of

# As some published ones: only what it knows, and an error for the rest.
STRICT_TEMPLATE = (
    "{% for m in messages if m['role'] not in ('user', 'assistant') %}"
    "{{ raise_exception('only user and assistant') }}{% endfor %}"
) + MARKED_TEMPLATE

NAMES = [f"name of role {role}" for role in ("system", "user", "assistant")]

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}


def template(source: str, tmp_path: Path) -> ChatTemplate:
    return chat_template(make_tokenizer(source), tmp_path)


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        (TINY_TEMPLATE, {"tools", "tool_calls", "role tool"}),
        (MARKED_TEMPLATE, {"role tool"}),
        (STRICT_TEMPLATE, set()),
        (NAMES_TEMPLATE, {"role tool", *NAMES}),
        (REASONING_TEMPLATE, {"role tool", "reasoning_content"}),
    ],
)
def test_a_template_renders_what_its_text_then_has(
    tmp_path: Path, source: str, fields: set[str]
) -> None:
    assert template(source, tmp_path).rendered_fields == fields


def test_qwen_renders_tools(tmp_path: Path) -> None:
    found = chat_template(tokenizer_for("qwen"), tmp_path)
    assert found.rendered_fields == {"tools", "tool_calls", "role tool"}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_templates_without_tools_render_no_calls(tmp_path: Path, name: str) -> None:
    found = chat_template(tokenizer_of(PUBLISHED[name]), tmp_path)
    assert found.rendered_fields <= {"role tool"}


def talk(**fields: Any) -> Conversation:
    question, answer = conversation("One?", "1")
    tools = fields.pop("tools", None)
    return Conversation(messages=[question, {**answer, **fields}], tools=tools)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (talk(tools=[TOOL]), "tools"),
        (talk(tool_calls=[CALL]), "tool_calls"),
        (talk(reasoning_content="Hm."), "reasoning_content"),
        (talk(name="Ada"), "name of role assistant"),
        (
            Conversation(messages=[*talk().messages, {"role": "tool", "content": "2"}]),
            "role tool",
        ),
    ],
)
def test_rows_with_what_the_template_leaves_out_are_refused_by_field_and_number(
    tmp_path: Path, row: Conversation, field: str
) -> None:
    tokenizer = make_tokenizer(STRICT_TEMPLATE)
    write_rows(tmp_path / "train.parquet", [talk(), row, talk(), row])
    rows, census = read_rows(
        tmp_path / "train.parquet", chat_template(tokenizer, tmp_path), tokenizer, 100
    )
    reason = f"the model's chat template does not render {field}"
    assert len(rows) == 2
    assert census.dropped == {reason: 2}
    # What another one than the dataset step wrote has its own numbers alone.
    assert census.places == {reason: ["row 2 of train.parquet", "row 4 of train.parquet"]}


def test_what_a_tool_is_called_is_no_reason_to_refuse_its_result(tmp_path: Path) -> None:
    result = {"role": "tool", "content": "2", "name": "weather", "tool_call_id": "1"}
    question, answer = conversation("One?", "1")
    row = Conversation(messages=[question, talk(tool_calls=[CALL]).messages[1], result, answer])
    template(TINY_TEMPLATE, tmp_path).check(row)


def test_messages_that_carry_the_template_are_refused(tmp_path: Path) -> None:
    found = template(MARKED_TEMPLATE, tmp_path)
    carried = found.render(conversation("One?", "1")).text
    for row in (conversation("x", carried), [{"role": "assistant", "content": carried}]):
        with pytest.raises(TemplateMismatch, match="carries the chat template already"):
            found.check(Conversation(messages=row))
    found.check(Conversation(messages=conversation("What is <|end|>?", "It ends a turn.")))


def test_a_template_without_control_tokens_between_turns_is_in_no_message(tmp_path: Path) -> None:
    plain = "{% for m in messages %}\n{{ m['content'] }}{% endfor %}{{ eos_token }}"
    assert template(plain, tmp_path).turn_change == ""
