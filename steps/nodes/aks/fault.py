"""Azure's errors in one shape: codes and texts, from the outermost to the innermost.

Azure answers flat ({"code", "message"}) or wrapped ({"error": {...}}), nests the cause in
`details`, and puts the JSON of one service into the message of another. Entra answers {"error",
"error_description"}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argotune.steps.common import log

_DEEPEST = 8
_LONGEST_TEXT = 400
# A code in text that is not JSON: `Code="AllocationFailed" Message="..."`, the Go SDK's way.
_CODE_IN_TEXT = re.compile(r"""\b[Cc]ode["']?\s*[=:]\s*["']?(\w+)""")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One failure."""

    status: int
    """HTTP status; 200 for an operation that failed later."""
    codes: tuple[str, ...]
    """From outermost to innermost; the last is the cause."""
    messages: tuple[str, ...]
    """In the order of the codes."""
    retry_after_seconds: float | None = None
    """Pause in seconds that the answer asks for."""

    @property
    def text(self) -> str:
        """All messages, because some faults differ in their text only."""
        return " | ".join(self.messages)

    def __str__(self) -> str:
        """Return the cause with its code, shortened, and without the query strings of any URL."""
        message = self.messages[-1] if self.messages else "no message"
        cause = f"{self.codes[-1]}: {message}" if self.codes else message
        plain = " ".join(log.redact_urls(cause).split())
        return plain if len(plain) <= _LONGEST_TEXT else f"{plain[:_LONGEST_TEXT]}..."


def fault_of(body: object, *, status: int = 200, retry_after_seconds: float | None = None) -> Fault:
    """Read an error's body: a mapping, its JSON, or any other text."""
    pairs = list(_pairs(body, 0))
    codes = dict.fromkeys(code for code, _ in pairs if code)
    messages = dict.fromkeys(message for _, message in pairs if message)
    return Fault(
        status=status,
        codes=tuple(codes),
        messages=tuple(messages),
        retry_after_seconds=retry_after_seconds,
    )


def _pairs(body: object, depth: int) -> Iterator[tuple[str, str]]:
    """Collect (code, message) of the body and of everything nested in it."""
    if depth > _DEEPEST:
        return
    if isinstance(body, str):
        yield from _pairs_in_text(body, depth)
    elif isinstance(body, Mapping):
        yield from _pairs_in_mapping(body, depth)


def _pairs_in_mapping(body: Mapping[str, Any], depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(body.get("error"), Mapping):
        yield from _pairs(body["error"], depth + 1)
        return
    if isinstance(body.get("error"), str):
        # Entra's form, which is OAuth's.
        yield str(body["error"]), str(body.get("error_description") or "")
        return
    yield str(body.get("code") or ""), ""
    yield from _pairs_in_text(str(body.get("message") or ""), depth)
    yield str(body.get("subcode") or ""), ""
    for detail in body.get("details") or []:
        yield from _pairs(detail, depth + 1)


def _pairs_in_text(text: str, depth: int) -> Iterator[tuple[str, str]]:
    nested = _json_in(text)
    if nested is not None:
        yield from _pairs(nested, depth + 1)
        return
    yield "", text
    yield from ((code, "") for code in _CODE_IN_TEXT.findall(text))


def _json_in(text: str) -> Mapping[str, Any] | None:
    """Find the JSON of another service's error within the text."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return None
    is_error = isinstance(found, Mapping) and bool({"error", "code", "message"} & found.keys())
    return found if is_error else None
