"""Checks of the user's own on a model's answers, as the plan file has them, and their results.

Each check gives every answer a score from 0 to 1 and is passed if the mean reaches `min`. The
answers are greedy ones to the prompts of held-out rows; a row's own answer is the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_Prompt = Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class _Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=60)] = ""
    """What results call it; empty: its kind."""
    min: _Share = 1.0
    """Least mean score of all answers with which it is passed."""

    @property
    def kind(self) -> str:
        """The check's kind, as the training config names it."""
        return str(self.__struct_config__.tag)

    @property
    def title(self) -> str:
        """The check's name."""
        return self.name or self.kind


class ExactMatch(_Check, frozen=True, kw_only=True, tag_field="kind", tag="exact_match"):
    """The answer is the reference; both are brought to Unicode's form NFC first."""

    ignore_case: bool = False
    ignore_whitespace: bool = True
    """White space around counts for nothing, and any within for one space."""
    ignore_punctuation: bool = False
    """Characters of Unicode's categories P count for nothing."""


class Regex(_Check, frozen=True, kw_only=True, tag_field="kind", tag="regex"):
    """The answer matches a regular expression somewhere; `^` and `$` anchor it."""

    pattern: _Pattern
    """In the syntax of Rust's regex, whose time is linear: no look-around and no \\1."""
    negate: bool = False
    """The answer must not match."""


class JsonSchema(_Check, frozen=True, kw_only=True, tag_field="kind", tag="json_schema"):
    """The answer is one JSON value that is valid by a schema."""

    schema: dict[str, Any]
    """JSON Schema of the draft that its $schema names, else 2020-12; nothing outside is read."""


class ToolCall(_Check, frozen=True, kw_only=True, tag_field="kind", tag="tool_call"):
    """The answer is a well-formed call of an offered tool, with arguments valid by its schema.

    Rows whose reference is no call of a tool do not count.
    """


class Judge(_Check, frozen=True, kw_only=True, tag_field="kind", tag="judge"):
    """A model behind an API as OpenAI's scores the answer."""

    url: _Text
    """Base of the API, such as https://HOST/v1; /chat/completions is appended."""
    model: _Text
    prompt: _Prompt
    """What the judge is asked; {prompt}, {answer} and {reference} stand for the row's texts. It is
    told besides to end with a line that has the score alone."""
    scale: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 10.0
    """Highest score that the judge may give; the lowest is 0."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = 0.0
    """None: not sent, for models that refuse it."""
    min: _Share
    """Least mean score as a share of `scale`; a judge has no default that would suit all."""


Check = ExactMatch | Regex | JsonSchema | ToolCall | Judge

KINDS: Sequence[str] = tuple(
    str(kind.__struct_config__.tag) for kind in (ExactMatch, Regex, JsonSchema, ToolCall, Judge)
)
"""The kinds of checks, as the training config names them."""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A row with a low score; each text is cut."""

    prompt: str
    reference: str
    answer: str
    score: float
    """From 0 to 1."""
    reason: str
    """Why the score is below 1."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found."""

    name: str
    kind: str
    score: float | None
    """Mean of all rows that it counts, from 0 to 1; None: it counts none."""
    min: float
    passed: bool
    """A check that counts no row is not passed."""
    rows: int
    """Number of rows that it counts."""
    examples: list[Example] = []
    """At most three of the rows with a score below 1, the lowest first."""

    @property
    def reason(self) -> str:
        """The result in one sentence without its full stop."""
        if self.score is None:
            return f"check {self.name} found no held-out row that it applies to"
        verb = "reaches" if self.passed else "is below"
        return f"check {self.name} scores {self.score:.3g} on {self.rows} rows, which {verb} " + (
            f"{self.min:g}"
        )
