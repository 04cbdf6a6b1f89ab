"""Checks of the user's own on a model's answers, as the plan file has them, and their results.

A check of answers gives each a score from 0 to 1 and is passed if the mean reaches `min`. The
answers are greedy ones to the prompts of held-out rows; a row's own answer is the reference.
`lm_eval` has rows of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

import msgspec

from argotune.steps.common.counted import counted

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_Prompt = Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
_Task = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Argument = Annotated[str, msgspec.Meta(max_length=2000)]
_ROUNDING = 1e-9
"""Of numbers such as 0.4 + 0.2 the last digit is not meant."""


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


class _Compared(_Check, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A check that also compares models; at least one of the three bounds is given."""

    min: float | None = None  # type: ignore[assignment]
    """Least score; None: any."""
    min_improvement: float | None = None
    """By how much the score has to be above the base model's, at least; None: it is not asked."""
    min_improvement_over_live: float | None = None
    """Likewise above that of the adapter in service, if there is one; below 0: so much worse is
    accepted."""

    @property
    def wanted_margins(self) -> Mapping[Literal["base", "live"], float]:
        """By how much the score has to be above that of each model that it is compared with."""
        given: dict[Literal["base", "live"], float | None] = {
            "base": self.min_improvement,
            "live": self.min_improvement_over_live,
        }
        return {name: margin for name, margin in given.items() if margin is not None}

    @property
    def has_bound(self) -> bool:
        """Whether an adapter could fail it."""
        return self.min is not None or bool(self.wanted_margins)


class LmEval(_Compared, frozen=True, kw_only=True, tag_field="kind", tag="lm_eval"):
    """Each of these tasks of lm-eval reaches the bounds."""

    tasks: Annotated[list[_Task], msgspec.Meta(min_length=1, max_length=20)]
    """Names of tasks or groups, as `lm-eval ls tasks` lists them."""
    metric: _Text = "acc"
    """METRIC or METRIC,FILTER of lm-eval's results, one that is better when it is higher."""
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Most rows of each task, the first of them; None: all."""
    num_fewshot: Annotated[int, msgspec.Meta(ge=0, le=64)] | None = None
    """Number of solved examples before each question; None: as the task says."""


class Scorer(_Compared, frozen=True, kw_only=True, tag_field="kind", tag="scorer"):
    """A program in an image of its own scores the answers; contracts/scoring.py has its files."""

    scorer: str
    """One of those that the installation allows."""
    name: Annotated[str, msgspec.Meta(max_length=60)] = ""
    """What results call it, and its files' directory; empty: the scorer."""
    args: Annotated[list[_Argument], msgspec.Meta(max_length=50)] = []
    """Arguments of the program."""
    env: Annotated[dict[str, _Argument], msgspec.Meta(max_length=50)] = {}
    """Further environment variables; no secrets, for they are shown."""
    min_row: float | None = None
    """Least score of each row; None: any."""

    @property
    def title(self) -> str:
        """The check's name."""
        return self.name or self.scorer

    @property
    def has_bound(self) -> bool:
        """Whether an adapter could fail it."""
        return super().has_bound or self.min_row is not None


Check = ExactMatch | Regex | JsonSchema | ToolCall | Judge | LmEval | Scorer
AnswerCheck = ExactMatch | Regex | JsonSchema | ToolCall | Judge
"""A check of answers to held-out prompts."""

KINDS: Sequence[str] = tuple(str(kind.__struct_config__.tag) for kind in get_args(Check))
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


class Margin(msgspec.Struct, frozen=True, kw_only=True):
    """The score beside that of another model."""

    against: Literal["base", "live"]
    score: float
    """Of the other model."""
    margin: float
    """By how much the new adapter's has to be higher, at least."""
    low: float | None = None
    """Lower end of the confidence interval of the difference on the same rows, which decides; None:
    rows have no scores of their own, or are too few, and the difference itself decides."""
    high: float | None = None
    """Its upper end."""

    def is_reached_by(self, score: float) -> bool:
        """Whether the new adapter's score is surely so much higher."""
        gain = score - self.score if self.low is None else self.low
        return gain >= self.margin - _ROUNDING


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found."""

    name: str
    kind: str
    score: float | None
    """Mean of all rows that it counts; None: it counts none."""
    min: float | None
    """Least mean score; None: any."""
    min_row: float | None = None
    """Least score of each row; None: any."""
    lowest: float | None = None
    """Lowest score of a row, where `min_row` is given."""
    passed: bool
    """A check that counts no row is not passed."""
    rows: int
    """Number of rows that it counts."""
    margins: list[Margin] = []
    """Comparisons with other models that the check asks for."""
    examples: list[Example] = []
    """At most three of the rows with low scores, the lowest first."""

    @property
    def reason(self) -> str:
        """The result in one sentence without its full stop."""
        if self.score is None:
            return f"check {self.name} found no held-out row that it applies to"
        said = f"check {self.name} scores {self.score:.3g} on {counted(self.rows, 'row')}"
        if self.min is not None:
            verb = "reaches" if reaches(self.score, self.min, []) else "is below"
            said += f", which {verb} {self.min:g}"
        if self.lowest is not None and self.min_row is not None:
            verb = "reaches" if reaches(self.lowest, self.min_row, []) else "is below"
            said += f", and {self.lowest:.3g} on the lowest, which {verb} {self.min_row:g}"
        return "".join([said, *(_beside(self.score, margin) for margin in self.margins)])

    @property
    def failed(self) -> set[str]:
        """What the check failed: `base` or `live` of its margins, or `itself`."""
        if self.passed:
            return set()
        found = {each.against for each in self.margins if not reaches(self.score, None, [each])}
        is_low = not reaches(self.score, self.min, [])
        if self.min_row is not None:
            is_low = is_low or not reaches(self.lowest, self.min_row, [])
        return {*found, "itself"} if is_low or not found else {*found}

    @property
    def wanted(self) -> str:
        """The bounds in a few words."""
        least = [] if self.min is None else [f"{self.min:g}"]
        least += [] if self.min_row is None else [f"{self.min_row:g} each"]
        above = [f"{_name(each)}'s {each.score:.3g} + {each.margin:g}" for each in self.margins]
        return ", ".join([*least, *above])


def reaches(score: float | None, least: float | None, margins: Sequence[Margin]) -> bool:
    """Whether a score reaches all of a check's bounds; None, of no row, reaches none."""
    if score is None:
        return False
    if least is not None and score < least - _ROUNDING:
        return False
    return all(each.is_reached_by(score) for each in margins)


def _beside(score: float, margin: Margin) -> str:
    gain = score - margin.score
    where = "above" if gain >= 0 else "below"
    said = f", {abs(gain):.3g} {where} that of {_name(margin)}"
    if margin.low is None:
        return f"{said}, where at least {margin.margin:g} above is wanted"
    interval = f"(interval {margin.low:.3g} to {margin.high:.3g})"
    return f"{said} {interval}, where its lower end has to be at least {margin.margin:g}"


def _name(margin: Margin) -> str:
    return "the base model" if margin.against == "base" else "the adapter in service"
