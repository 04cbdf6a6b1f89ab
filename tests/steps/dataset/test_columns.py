from __future__ import annotations

from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset.columns import Mapped, map_columns
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
        (columns("id", messages="messages"), Mapped(messages="messages")),
        (columns("messages"), Mapped(messages="messages")),
        (columns(conversations="messages"), Mapped(messages="conversations")),
        (columns("text", messages="messages"), Mapped(messages="messages")),
        (
            columns("prompt", "completion", messages="other"),
            Mapped(prompt=("prompt",), response="completion"),
        ),
        (columns("prompt", "response"), Mapped(prompt=("prompt",), response="response")),
        (
            columns("instruction", "input", "output"),
            Mapped(prompt=("instruction", "input"), response="output"),
        ),
        (columns("instruction", "output"), Mapped(prompt=("instruction",), response="output")),
        (
            columns("instruction", "context", "response", "category"),
            Mapped(prompt=("instruction", "context"), response="response"),
        ),
        (columns("question", "answer"), Mapped(prompt=("question",), response="answer")),
        (columns("text"), Mapped(response="text")),
    ],
)
def test_columns_are_found_by_their_names(
    data: Data, found: dict[str, Column], expected: Mapped
) -> None:
    assert map_columns(found, data) == expected


def test_columns_of_the_plan_come_first(data: Data) -> None:
    found = columns("a", "b", "prompt", "completion", chat="messages")
    assert map_columns(found, named(data, messages_column="chat")) == Mapped(messages="chat")
    assert map_columns(found, named(data, context_column="a", response_column="b")) == Mapped(
        prompt=("a",), response="b"
    )
    assert map_columns(found, named(data, response_column="b")) == Mapped(response="b")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"messages_column": "chats"},
            "messages_column 'chats' is not a column of the file; "
            "there are a (string), scores (<other>)",
        ),
        (
            {"context_column": "q", "response_column": "a"},
            "context_column 'q' is not a column of the file; "
            "there are a (string), scores (<other>)",
        ),
        (
            {"response_column": "scores"},
            "response_column 'scores' is of type <other>; text is needed",
        ),
        (
            {"messages_column": "scores"},
            "messages_column 'scores' is of type <other>; a list of {role, content} is needed",
        ),
        (
            {"context_column": "a"},
            "context_column 'a' is named without response_column; "
            "there are a (string), scores (<other>)",
        ),
        (
            {},
            "no columns that become messages; there are a (string), scores (<other>); known are "
            "messages, conversations, prompt + completion, instruction (+ input) + output, "
            "instruction (+ context) + response, question + answer, text; others are named with "
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
