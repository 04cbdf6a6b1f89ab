from __future__ import annotations

from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset.columns import ColumnMapping, map_columns, unused_columns
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
            columns("conversations", "system"),
            ColumnMapping(messages="conversations", system="system"),
        ),
        (
            columns(prompt="messages", completion="messages"),
            ColumnMapping(prompt=("prompt",), response="completion", are_lists=True),
        ),
        (
            columns("instruction", "output", "system", history="list"),
            ColumnMapping(
                system="system", history="history", prompt=("instruction",), response="output"
            ),
        ),
        (
            columns("instruction", "context", "output"),
            ColumnMapping(prompt=("instruction", "context"), response="output"),
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
        (
            columns(messages="messages", tools="list"),
            ColumnMapping(messages="messages", tools="tools"),
        ),
        (
            columns("prompt", "completion", "functions"),
            ColumnMapping(prompt=("prompt",), response="completion", tools="functions"),
        ),
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


ADVICE = (
    "; name the columns with DatasetConfig's messages_column, or context_column and "
    "response_column, or list those to leave out in Argotune.ignore_columns"
)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"messages_column": "chats"},
            "messages_column 'chats' is not a column of the file; "
            "the file has 'a' (string), 'scores' (<other>)",
        ),
        (
            {"context_column": "q", "response_column": "a"},
            "context_column 'q' is not a column of the file; "
            "the file has 'a' (string), 'scores' (<other>)",
        ),
        (
            {"response_column": "scores"},
            f"column 'scores' has type <other>; expected text{ADVICE}",
        ),
        (
            {"messages_column": "scores"},
            "column 'scores' has type <other>; expected a list of {role, content} or text" + ADVICE,
        ),
        (
            {},
            "no known conversation columns; the file has 'a' (string), 'scores' (<other>); known "
            "are messages, conversations, prompt + completion, instruction (+ input or context) + "
            "output, instruction (+ context or input) + response, question + answer, text, and "
            f"system and tools beside these{ADVICE}",
        ),
    ],
)
def test_wrong_columns_are_answered_with_those_that_are_there(
    data: Data, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        map_columns(columns("a", scores="other"), named(data, **settings))
    assert str(caught.value) == message


def test_a_column_of_another_type_is_an_error_and_not_left_out(data: Data) -> None:
    for kind in ("other", "list", "messages"):
        with pytest.raises(PermanentError, match=f"column 'input' has type <{kind}>"):
            map_columns(columns("instruction", "output", input=kind), data)
    with pytest.raises(PermanentError, match="column 'messages' has type <other>"):
        map_columns(columns("prompt", "completion", messages="other"), data)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["images"], "columns 'images' would be left out beside instruction, output, and may be"),
        (["Tools ", "label"], "columns 'Tools ', 'label' would be left out"),
        (["tools", "functions"], "columns 'functions' would be left out"),
        (["chosen", "rejected"], "; preference pairs are DPO's, and argotune tunes on answers"),
        (["label", "prompt"], "; rows with a label are KTO's, and argotune tunes on answers"),
        (["context", "input"], "columns 'context' would be left out beside instruction, input,"),
    ],
)
def test_a_column_that_may_belong_to_the_conversation_is_not_left_out(
    data: Data, others: list[str], message: str
) -> None:
    found = columns("instruction", "output", *others)
    with pytest.raises(PermanentError) as caught:
        map_columns(found, data)
    assert message in str(caught.value)
    assert str(caught.value).endswith(ADVICE)
    left_out = [name for name in others if name not in ("input", "tools")]
    mapped = map_columns(found, named(data, ignore_columns=left_out))
    assert mapped.response == "output"
    assert unused_columns(found, mapped, named(data, ignore_columns=left_out)) == []


def test_tools_of_another_type_are_an_error(data: Data) -> None:
    with pytest.raises(PermanentError, match="expected a list of functions or its JSON text"):
        map_columns(columns(messages="messages", tools="other"), data)


def test_tools_without_a_question_are_not_left_out(data: Data) -> None:
    with pytest.raises(PermanentError, match="columns 'tools' would be left out beside text"):
        map_columns(columns("text", "tools"), data)


def test_messages_that_the_plan_names_keep_their_system_and_tools(data: Data) -> None:
    found = columns("system", "tools", chat="messages")
    assert map_columns(found, named(data, messages_column="chat")) == ColumnMapping(
        messages="chat", system="system", tools="tools"
    )


def test_columns_that_the_plan_names_settle_the_others(data: Data) -> None:
    found = columns("q", "a", "images")
    settled = named(data, context_column="q", response_column="a")
    assert unused_columns(found, map_columns(found, settled), settled) == ["images"]


def test_names_of_both_kinds_of_columns_contradict_each_other(data: Data) -> None:
    for settings, message in (
        ({"messages_column": "m", "response_column": "a"}, "name one kind"),
        ({"context_column": "q"}, "context_column needs response_column"),
    ):
        with pytest.raises(ValueError, match=message):
            named(data, **settings)
