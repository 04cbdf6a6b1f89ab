from __future__ import annotations

from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset.columns import ColumnMapping, map_columns
from argotune.steps.dataset.source import Column


def columns(*texts: str, **others: str) -> dict[str, Column]:
    found = {name: Column(kind="text", type="string") for name in texts}
    for name, kind in others.items():
        found[name] = Column(kind=kind, type=f"<{kind}>")  # type: ignore[arg-type]
    return found


def named(data: Data, **settings: Any) -> Data:
    return msgspec.structs.replace(data, **settings)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (columns("id", messages="messages"), ColumnMapping(messages="messages")),
        (columns("messages"), ColumnMapping(messages="messages")),
        (columns(conversations="messages"), ColumnMapping(messages="conversations")),
        (columns("text", messages="messages"), ColumnMapping(messages="messages")),
        (
            columns("prompt", "completion", messages="other"),
            ColumnMapping(prompt=("prompt",), response="completion"),
        ),
        (columns("prompt", "response"), ColumnMapping(prompt=("prompt",), response="response")),
        (
            columns("instruction", "input", "output"),
            ColumnMapping(prompt=("instruction", "input"), response="output"),
        ),
        (
            columns("instruction", "output"),
            ColumnMapping(prompt=("instruction",), response="output"),
        ),
        (
            columns("instruction", "context", "response", "category"),
            ColumnMapping(prompt=("instruction", "context"), response="response"),
        ),
        (columns("question", "answer"), ColumnMapping(prompt=("question",), response="answer")),
        (columns("text"), ColumnMapping(response="text")),
    ],
)
def test_columns_are_found_by_their_names(
    data: Data, found: dict[str, Column], expected: ColumnMapping
) -> None:
    assert map_columns(found, data) == expected


def test_columns_of_the_plan_come_first(data: Data) -> None:
    found = columns("a", "b", "prompt", "completion", chat="messages")
    assert map_columns(found, named(data, messages_column="chat")) == ColumnMapping(messages="chat")
    assert map_columns(
        found, named(data, context_column="a", response_column="b")
    ) == ColumnMapping(prompt=("a",), response="b")
    assert map_columns(found, named(data, response_column="b")) == ColumnMapping(response="b")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"messages_column": "chats"},
            "messages_column 'chats' is not a column of the file; "
            "the file has a (string), scores (<other>)",
        ),
        (
            {"context_column": "q", "response_column": "a"},
            "context_column 'q' is not a column of the file; "
            "the file has a (string), scores (<other>)",
        ),
        (
            {"response_column": "scores"},
            "response_column 'scores' has type <other>; expected text",
        ),
        (
            {"messages_column": "scores"},
            "messages_column 'scores' has type <other>; expected a list of {role, content}",
        ),
        (
            {"context_column": "a"},
            "context_column 'a' is set without response_column; "
            "the file has a (string), scores (<other>)",
        ),
        (
            {},
            "no known conversation columns; the file has a (string), scores (<other>); known are "
            "messages, conversations, prompt + completion, instruction (+ input) + output, "
            "instruction (+ context) + response, question + answer, text; name others with "
            "DatasetConfig's messages_column, or context_column and response_column",
        ),
    ],
)
def test_wrong_columns_are_answered_with_those_that_are_there(
    data: Data, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        map_columns(columns("a", scores="other"), named(data, **settings))
    assert str(caught.value) == message
