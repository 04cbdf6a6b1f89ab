"""Exports of chat programs, in the form in which these write them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Data
from argotune.steps.dataset.columns import map_columns
from argotune.steps.dataset.formats import OpenFile
from argotune.steps.dataset.messages import read_conversations
from argotune.steps.dataset.rejected import rejected_rows
from argotune.steps.dataset.target import DatasetFile

TELEGRAM_MESSAGE = {
    "id": 1,
    "type": "message",
    "date": "2024-05-01T10:00:00",
    "from": "Ann",
    "from_id": "user1",
    "text": ["see ", {"type": "link", "text": "https://example.com"}],
}
TELEGRAM_CHAT = {"name": "Ann", "type": "personal_chat", "id": 7, "messages": [TELEGRAM_MESSAGE]}
TELEGRAM = {"about": "Here is the data", "chats": {"about": "", "list": [TELEGRAM_CHAT]}}
CHATGPT = {
    "title": "A question",
    "create_time": 1714550000.1,
    "mapping": {"a": {"id": "a", "message": None, "parent": None, "children": []}},
    "current_node": "a",
}
CLAUDE = {
    "uuid": "1",
    "name": "A question",
    "chat_messages": [{"uuid": "2", "text": "Hi", "sender": "human"}],
}
SLACK = {"type": "message", "user": "U1", "text": "hello", "ts": "1714550000.000100"}
DISCORD_MESSAGE = {"id": "1", "timestamp": "2024-05-01", "content": "Hi", "author": {"id": "2"}}
DISCORD = {"guild": {"id": "1"}, "channel": {"id": "2"}, "messages": [DISCORD_MESSAGE]}
WHATSAPP = "\u200e[01.05.24, 10:00:00] Ann: Hi\n[01.05.24, 10:01:00] Bob: Hello\n"


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], OpenFile]:
    def make(text: str) -> OpenFile:
        path = tmp_path / "export"
        path.write_text(text)
        size = path.stat().st_size
        file = DatasetFile(url="https://e.com/a", name="a", path=path, size=size, sha256="0" * 64)
        return OpenFile(file, tmp_path)

    return make


@pytest.mark.parametrize("indent", [None, 1], ids=["one-line", "indented"])
@pytest.mark.parametrize(
    ("export", "program"),
    [
        (TELEGRAM, "Telegram (result.json)"),
        (CHATGPT, "ChatGPT (conversations.json)"),
        ([CHATGPT], "ChatGPT (conversations.json)"),
        ([CLAUDE], "Claude (conversations.json)"),
        ([SLACK], "Slack"),
        ([TELEGRAM_MESSAGE], "Telegram (result.json)"),
        (DISCORD, "Discord"),
    ],
)
def test_an_export_is_refused_by_its_programs_name(
    opened: Callable[[str], OpenFile], data: Data, export: object, program: str, indent: int | None
) -> None:
    with pytest.raises(PermanentError, match=f"it is an export of {re.escape(program)}") as caught:
        map_columns(opened(json.dumps(export, indent=indent)).columns(), data)
    assert '{"messages": [{"role": "user"' in str(caught.value)


def test_a_single_chat_of_telegram(opened: Callable[[str], OpenFile]) -> None:
    with pytest.raises(PermanentError, match="it is an export of Telegram"):
        opened(json.dumps(TELEGRAM_CHAT, indent=1)).columns()


def test_a_chat_of_whatsapp(opened: Callable[[str], OpenFile]) -> None:
    with pytest.raises(PermanentError, match="it is an export of WhatsApp"):
        opened(WHATSAPP)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (TELEGRAM_MESSAGE, "message_of_a_telegram_export"),
        (DISCORD_MESSAGE, "message_of_a_discord_export"),
    ],
)
def test_messages_of_an_export_in_rows_are_refused_with_advice(
    opened: Callable[[str], OpenFile],
    data: Data,
    tmp_path: Path,
    message: object,
    reason: str,
) -> None:
    """The columns alone could be those of a data set."""
    rows = "".join(json.dumps({"id": n, "messages": [message]}) + "\n" for n in range(2))
    file = opened(rows)
    mapped = map_columns(file.columns(), data)
    (batch,) = file.batches(mapped.names())
    conversations = read_conversations(batch, mapped)
    with rejected_rows(tmp_path / "rejected.jsonl") as rejected:
        rejected.add("https://e.com/a", batch.numbers, conversations.refused)
    assert rejected.summary().startswith(f"2 {reason} (a row 1, 2; make one line of each")


def test_names_of_columns_settle_what_is_read(
    opened: Callable[[str], OpenFile], data: Data
) -> None:
    named = msgspec.structs.replace(data, response_column="text")
    assert map_columns(opened(json.dumps([SLACK])).columns(), named).response == "text"
