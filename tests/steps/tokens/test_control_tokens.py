"""Control tokens in the texts of people and models are text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.tiny.make import CHAT_TEMPLATE
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import TokenRow, read_rows, tokenise
from tests.steps.tune.models import (
    MARKED_TEMPLATE,
    PLAIN_TEMPLATE,
    conversation,
    make_tokenizer,
    write_rows,
)

ROW = [
    {"role": "system", "content": "Never write <|system|>."},
    *conversation("What is <|end|>\n?", "<|end|> ends a turn."),
    *conversation("And <|user|>?", "It begins one"),
]


def tokens(template: str, tmp_path: Path, *rows: Conversation) -> tuple[Any, list[TokenRow]]:
    tokenizer = make_tokenizer(template)
    found = tokenise([rows], chat_template(tokenizer, tmp_path), tokenizer, 1000)
    return tokenizer, list(found)


@pytest.mark.parametrize("source", [MARKED_TEMPLATE, PLAIN_TEMPLATE])
def test_control_tokens_in_messages_are_text_and_the_templates_are_tokens(
    tmp_path: Path, source: str
) -> None:
    others = Conversation(messages=conversation("One?", "1"))
    tokenizer, found = tokens(source, tmp_path, others, Conversation(messages=ROW), others)
    row = found[1]
    assert [each.has_control_tokens for each in found] == [False, True, False]
    assert (
        tokenizer.decode(row.ids) == row.text == tokenizer.apply_chat_template(ROW, tokenize=False)
    )
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert row.ids.tolist().count(end) == len(ROW)
    assert (
        tokenizer.decode(row.ids[row.labelled]) == "<|end|> ends a turn.<|end|>It begins one<|end|>"
    )
    assert row.ids[row.labelled].tolist().count(end) == 2
    assert [row.text[start:end] for start, end in row.spans] == [
        "<|end|> ends a turn.<|end|>",
        "It begins one<|end|>",
    ]
    assert np.array_equal(found[0].ids, found[2].ids)


def test_the_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    messages = [*ROW[:2], {"role": "assistant", "content": "It ends a turn."}]
    tokenizer, (row,) = tokens(MARKED_TEMPLATE, tmp_path, Conversation(messages=messages))
    theirs = tokenizer.apply_chat_template(messages, sanitize_control_tokens=True)["input_ids"]
    assert row.ids.tolist() == theirs


def test_control_tokens_in_tools_and_calls_are_text_too(tmp_path: Path) -> None:
    call = {"function": {"name": "f", "arguments": {"x": ["<|end|>"]}}}
    tool = {"type": "function", "function": {"name": "f", "description": "<|end|>"}}
    question, answer = conversation("One?", "")
    row = Conversation(messages=[question, {**answer, "tool_calls": [call]}], tools=[tool])
    tokenizer, (found,) = tokens(CHAT_TEMPLATE.read_text(), tmp_path, row)
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert found.ids.tolist().count(end) == 3
    assert found.text.count("<|end|>") == 5


def test_rows_with_control_tokens_are_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = make_tokenizer()
    path = tmp_path / "train.parquet"
    write_rows(path, [ROW, conversation("One?", "1")])
    rows, census = read_rows(path, chat_template(tokenizer, tmp_path), tokenizer, 1000)
    assert (len(rows), census.with_control_tokens) == (2, 1)
    assert "control-tokens-as-text file=train.parquet rows=1" in caplog.text
