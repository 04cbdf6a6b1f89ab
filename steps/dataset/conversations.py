"""Conversations in columns, and which of them cannot be used.

A conversation is an optional system message, then alternating user and assistant messages, the
last one from the assistant; or a single assistant message, the form of plain text. After an answer
may come results of tools, and after these another answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from argotune.steps.contracts.dataset_rows import ROLES
from argotune.steps.dataset import message_fields
from argotune.steps.dataset.message_fields import Codes, Flags

SYSTEM, USER, ASSISTANT, TOOL = range(len(ROLES))
UNKNOWN = 255

_START, _ONLY = len(ROLES), len(ROLES) + 1
"""What stands before the first message, and before the only one beside a system message."""
_FOLLOWS = np.zeros((len(ROLES) + 2, len(ROLES)), dtype=np.bool_)
"""Which role may follow which."""
_FOLLOWS[_START, USER] = _FOLLOWS[_ONLY, [USER, ASSISTANT]] = True
_FOLLOWS[USER, ASSISTANT] = True
_FOLLOWS[ASSISTANT, [USER, TOOL]] = True
_FOLLOWS[TOOL, [TOOL, ASSISTANT]] = True

_OWN_REASONS = (
    "",
    "not_parsed",
    "too_long",
    "empty",
    "unknown_role",
    "no_assistant",
    "wrong_order",
    "nothing_is_learned",
    # Only the tokenizer can tell.
    "refused_by_chat_template",
    "no_end_of_turn_is_learned",
    "no_token_is_learned_within_max_length",
)
REASONS = (*_OWN_REASONS, *message_fields.REASONS)
"""Reasons to reject a row; index 0 is a usable row."""
(
    NOT_PARSED,
    TOO_LONG,
    _EMPTY,
    _UNKNOWN_ROLE,
    _NO_ASSISTANT,
    _WRONG_ORDER,
    _NOT_LEARNED,
    TEMPLATE_REFUSES,
    NO_END_OF_TURN,
    NO_TOKEN_LEARNED,
) = range(1, len(_OWN_REASONS))


def code_of(reason: str) -> int:
    """Index of a reason."""
    return REASONS.index(reason)


@dataclass(frozen=True, kw_only=True)
class Conversations:
    """Columnar conversations: the messages of all n rows, concatenated to m messages."""

    lengths: npt.NDArray[np.int64]
    """Number of messages of each row, shape (n,)."""
    roles: npt.NDArray[np.uint8]
    """Index into ROLES of each message, shape (m,)."""
    contents: pa.Array
    """Text of each message, large_string without nulls, length m."""
    learned: Flags
    """Messages whose tokens are labels, (m,): the assistant's, unless a field says otherwise."""
    refused: Codes
    """Index into REASONS of rows with a value that cannot be used, 0 for others; shape (n,)."""
    fields: Mapping[str, pa.Array] = field(default_factory=dict)
    """Of contracts.dataset_rows.FIELDS those that a message has, large_string, length m each."""
    tools: pa.Array | None = None
    """JSON list of each row's tools, large_string with nulls, length n; None if no row has any."""

    def starts(self) -> npt.NDArray[np.int64]:
        """Index of each row's first message, followed by m; shape (n + 1,)."""
        return np.concatenate(([0], np.cumsum(self.lengths)))

    def select(self, rows: Flags) -> Conversations:
        """The conversations of the selected rows; `rows` has shape (n,)."""
        if rows.all():
            return self
        kept = self._with_messages(np.repeat(rows, self.lengths))
        return replace(
            kept,
            lengths=self.lengths[rows],
            refused=self.refused[rows],
            tools=None if self.tools is None else self.tools.filter(pa.array(rows)),
        )

    def without(self, messages: Flags) -> Conversations:
        """The same rows without the selected messages; `messages` has shape (m,)."""
        if not messages.any():
            return self
        dropped = np.bincount(self._rows()[messages], minlength=len(self.lengths))
        return replace(self._with_messages(~messages), lengths=self.lengths - dropped)

    def _with_messages(self, messages: Flags) -> Conversations:
        """The selected messages; the lengths of the rows stay as they are."""
        mask = pa.array(messages)
        return replace(
            self,
            roles=self.roles[messages],
            contents=self.contents.filter(mask),
            learned=self.learned[messages],
            fields={name: values.filter(mask) for name, values in self.fields.items()},
        )

    def any_message(self, messages: Flags) -> Flags:
        """Which rows contain a selected message; shapes (m,) -> (n,)."""
        rows: Flags = np.zeros(len(self.lengths), dtype=np.bool_)
        rows[self._rows()[messages]] = True
        return rows

    def unlearned_answers(self) -> Flags:
        """Which messages are the assistant's and no labels; shape (m,)."""
        answers: Flags = self.roles == ASSISTANT
        return answers & ~self.learned

    def position(self) -> npt.NDArray[np.int64]:
        """Index of each message within its row, from 0; shape (m,)."""
        return np.arange(len(self.roles)) - np.repeat(self.starts()[:-1], self.lengths)

    def _rows(self) -> npt.NDArray[np.int64]:
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def reject(conversations: Conversations) -> npt.NDArray[np.uint8]:
    """Index into REASONS of each row, 0 for usable rows; shape (n,)."""
    reasons = np.zeros(len(conversations.lengths), dtype=np.uint8)
    checks = (
        (_WRONG_ORDER, _wrong_order(conversations)),
        (_NOT_LEARNED, ~conversations.any_message(conversations.learned)),
        (_NO_ASSISTANT, ~conversations.any_message(conversations.roles == ASSISTANT)),
        (_UNKNOWN_ROLE, conversations.any_message(conversations.roles == UNKNOWN)),
        (_EMPTY, _empty(conversations)),
    )
    for code, rows in checks:
        reasons[rows] = code
    # A value that cannot be used says more than what is missing without it.
    return np.where(conversations.refused > 0, conversations.refused, reasons)


def _empty(conversations: Conversations) -> Flags:
    # A result may be empty, and an answer that calls tools.
    may_be = conversations.roles == TOOL
    calls = conversations.fields.get("tool_calls")
    if calls is not None:
        may_be |= flags(calls.is_valid())
    has_blank = conversations.any_message(blank(conversations.contents) & ~may_be)
    return np.asarray(has_blank | (conversations.lengths == 0))


def _wrong_order(conversations: Conversations) -> Flags:
    roles, position = conversations.roles, conversations.position()
    leading = (roles == SYSTEM) & (position == 0)
    turns = conversations.lengths - conversations.any_message(leading)
    is_first = position - np.repeat(conversations.lengths - turns, conversations.lengths) == 0
    before = np.concatenate(([0], roles[:-1])).astype(np.int64)
    before[is_first] = np.where(
        np.repeat(turns, conversations.lengths)[is_first] == 1, _ONLY, _START
    )
    known = (roles < len(ROLES)) & (before < len(_FOLLOWS))
    follows = known & _FOLLOWS[np.where(known, before, 0), np.where(known, roles, 0)]
    is_last = position == np.repeat(conversations.lengths, conversations.lengths) - 1
    return conversations.any_message(~leading & ~follows | is_last & (roles != ASSISTANT))


def blank(contents: pa.Array) -> Flags:
    """Which texts have no visible character."""
    is_space = pc.utf8_is_space(contents)
    is_empty = pc.equal(pc.binary_length(contents), 0)
    return flags(pc.or_(is_space, is_empty))


def flags(array: pa.Array) -> Flags:
    """An Arrow array of booleans without nulls as numpy's."""
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.bool_)
