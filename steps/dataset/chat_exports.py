"""Exports of chat programs, which say who wrote what and not whose answers are to be learned.

They are recognised by the names of an object's keys, or by those of a message in it, and refused
with what has to be done with them. Read as they stand, Slack's would be learned as single texts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_MAKE = (
    'make one line of each conversation, {"messages": [{"role": "user", "content": "…"}, '
    '{"role": "assistant", "content": "…"}]}'
)
_OF_PEOPLE = f"{_MAKE}: assistant is the person whose answers are to be learned, user the others"


@dataclass(frozen=True, kw_only=True)
class _Export:
    program: str
    names: frozenset[str]
    """Keys that stand side by side in such an export and in no data set."""
    advice: str = _OF_PEOPLE


_FILES = (
    _Export(
        program="ChatGPT (conversations.json)",
        names=frozenset({"mapping", "current_node"}),
        advice=f"{_MAKE}: go from the node current_node of mapping by parent to the first, and "
        "take author.role and content.parts of each message",
    ),
    _Export(
        program="ChatGPT (conversations.json)",
        names=frozenset({"title", "create_time", "mapping"}),
        advice=f"{_MAKE}: go from the last node of mapping by parent to the first, and take "
        "author.role and content.parts of each message",
    ),
    _Export(
        program="Claude (conversations.json)",
        names=frozenset({"uuid", "chat_messages"}),
        advice=f"{_MAKE}: in chat_messages sender human is user, and text the content",
    ),
    _Export(program="Telegram (result.json)", names=frozenset({"about", "chats"})),
    _Export(program="Telegram (result.json)", names=frozenset({"personal_information", "chats"})),
    _Export(program="Telegram (result.json)", names=frozenset({"from", "from_id", "text"})),
    _Export(program="Slack", names=frozenset({"user", "text", "ts"})),
    _Export(program="Discord", names=frozenset({"guild", "channel", "messages"})),
)
"""By the keys of the whole file's object, or of each row."""

MESSAGES: Mapping[str, frozenset[str]] = {
    "message_of_a_telegram_export": frozenset({"from_id", "text"}),
    "message_of_a_discord_export": frozenset({"author", "content", "timestamp"}),
}
"""Why a row is refused -> keys of one of its messages. Whole chats of these programs have no other
keys than data sets may have: Telegram's are name, type, id and messages."""
_TELEGRAM_CHAT = frozenset({"name", "type", "id", "messages"})
_WHATSAPP = re.compile(rb"(\xe2\x80\x8e)?\[?\d{1,4}[./-]\d{1,2}[./-]\d{2,4},? \d{1,2}[:.]\d\d")
"""The date before a line in the phone's own order, behind an invisible mark at first."""


def export_problem(names: Collection[str]) -> str | None:
    """Say which program's export it is, and what to do; None for other keys of a file or a row."""
    for each in _FILES:
        if each.names <= set(names):
            return _problem(each.program, each.advice)
    return None


def chat_problem(names: Collection[str]) -> str | None:
    """The same of a whole file that is one object, which is no data set with those keys either."""
    if set(names) >= _TELEGRAM_CHAT:
        return _problem("Telegram (result.json)", _OF_PEOPLE)
    return export_problem(names)


def text_problem(text: bytes) -> str | None:
    """The same of the beginning of a text file."""
    is_chat = _WHATSAPP.match(text) is not None
    return _problem("WhatsApp (_chat.txt)", _OF_PEOPLE) if is_chat else None


def reason_of(message: Mapping[str, object]) -> str | None:
    """Return the reason to refuse a message of an export; None for another message."""
    return next((reason for reason, names in MESSAGES.items() if names <= message.keys()), None)


def advice_of(reason: str) -> str:
    """Say what to do with rows that are refused for this reason; empty where it tells by itself."""
    return _OF_PEOPLE if reason in MESSAGES else ""


def _problem(program: str, advice: str) -> str:
    return f"it is an export of {program}, which is not read as it stands; {advice}"
