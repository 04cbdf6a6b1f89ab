"""Grammars of answers that have to be JSON, or calls of tools, in llguidance's form of Lark's.

llguidance is a wheel of 3 MB without dependencies, under MIT, kept by its authors at Microsoft, and
OpenAI's service uses it. What it cannot do of a schema it refuses by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from argotune.steps.tokens.call_syntax import CALL_ID, CallSyntax

_HEADER = "%llguidance {}\n"
_MOST_CALLS = 16
"""Of one answer, so that a model which repeats itself comes to an end."""
_ID = "/[a-zA-Z0-9]{9}/"
_TEXT = "TEXT: /(.|\\n)*/\n"
# One space, or a new line with its indentation: a weak model may write white space without end.
_JSON_OF_ANSWERS = {"whitespace_pattern": r"( |\n {0,16}|\n\t{0,8})"}


@dataclass(frozen=True, kw_only=True)
class Function:
    """A tool that an answer may call."""

    name: str
    parameters: Mapping[str, Any]
    """JSON schema of its arguments, an object."""


@dataclass(frozen=True, kw_only=True)
class Calls:
    """The calls that an answer may have, as the model's chat template writes them."""

    functions: Sequence[Function]
    syntax: CallSyntax
    special_tokens: Mapping[str, int]
    """Ids of the tokenizer's special tokens, which are tokens in the template's text."""
    several: bool
    """Whether one answer may have more than one."""

    def rules(self) -> str:
        """The rules `calls` and those that it uses."""
        calls = f"{self._text(self.syntax.head)} {self._listed(self.syntax.between)}"
        return f"calls: {calls}\n{self._call_rules()}"

    def rules_beside_text(self) -> str | None:
        """The rule `answer`, text with any number of calls; None if only the end tells a call."""
        beginning = re.match(f"{self._special()}|<[a-z_]+>", self.syntax.head)
        if beginning is None:
            return None
        tag, head = beginning[0], self.syntax.head[beginning.end() :]
        between = self.syntax.between
        # Where every call has a tag of its own, the next one is tagged text again.
        is_list = between is not None and tag not in between
        body = f"{self._text(head)} {self._listed(between if is_list else None)}"
        if tag in self.special_tokens:
            tagged = f"tagged: TEXT {self._text(tag)} {body}\n"
        else:
            tagged = f"opened[lazy]: TEXT {json.dumps(tag)}\ntagged: opened {body}\n"
        several = f"{{0,{_MOST_CALLS}}}" if self.several else "?"
        return f"answer: tagged{several} TEXT\n{tagged}{_TEXT}{self._call_rules()}"

    def _listed(self, between: str | None) -> str:
        """One call, or several with this text between them, and the tail."""
        more = ""
        if self.several and between is not None:
            more = f" ({self._text(between)} call){{0,{_MOST_CALLS - 1}}}"
        return f"call{more} {self._text(self.syntax.tail)}"

    def _call_rules(self) -> str:
        options = {
            "whitespace_flexible": False,
            "item_separator": self.syntax.item_separator,
            "key_separator": self.syntax.key_separator,
        }
        middle = self._text(self.syntax.middle)
        calls = [
            f"{json.dumps(each.name)} {middle} {_json(each.parameters, options)}"
            for each in self.functions
        ]
        return f"call: {' | '.join(calls)}\n"

    def _text(self, text: str) -> str:
        """A text of the template, in which special tokens are tokens and an id is any."""
        parts = re.split(f"({re.escape(CALL_ID)}|{self._special()})", text)
        return " ".join(self._part(part) for part in parts if part) or '""'

    def _part(self, part: str) -> str:
        if part == CALL_ID:
            return _ID
        number = self.special_tokens.get(part)
        return json.dumps(part) if number is None else f"<[{number}]>"

    def _special(self) -> str:
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        return "|".join(map(re.escape, longest_first)) or "(?!)"


def json_grammar(schema: Mapping[str, Any]) -> str:
    """An answer that is JSON of this schema."""
    return f"{_HEADER}start: {_json(schema, _JSON_OF_ANSWERS)}\n"


def calls_grammar(calls: Calls) -> str:
    """An answer that is one call or several."""
    return f"{_HEADER}start: calls\n{calls.rules()}"


def calls_or_json_grammar(calls: Calls, schema: Mapping[str, Any]) -> str:
    """An answer that is JSON of this schema, or calls."""
    return f"{_HEADER}start: calls | {_json(schema, _JSON_OF_ANSWERS)}\n{calls.rules()}"


def text_with_calls_grammar(calls: Calls) -> str | None:
    """A free answer whose calls have valid arguments; None if the template tags no calls."""
    rules = calls.rules_beside_text()
    return None if rules is None else f"{_HEADER}start: answer\n{rules}"


def _json(schema: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    # The options of a schema from outside would be taken before these.
    return f"%json {json.dumps({**schema, 'x-guidance': options})}"
