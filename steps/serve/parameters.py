"""The rule for a request's parameters: used, refused by name, or on the list of harmless ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from argotune.steps.serve.engine.interface import LEAST_TEMPERATURE

HARMLESS: Mapping[str, str] = MappingProxyType({
    "metadata": "notes of the client for answers that are kept; none are",
    "prompt_cache_key": "where a prompt may be cached, which changes no answer",
    "prompt_cache_retention": "how long a prompt may be cached",
    "safety_identifier": "whose question it is, which changes no answer",
    "service_tier": "which price is to be paid",
    "store": "whether to keep the answer; none is kept",
    "user": "whose question it is, which changes no answer",
})  # fmt: skip
"""Parameters that clients send and on which no answer depends, with what they say. They are
accepted without effect; every other unknown one is refused."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = MappingProxyType({
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "min_p": (None, 0),
    "modalities": (None, ["text"]),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "reasoning_effort": (None,),
    "repetition_penalty": (None, 1),
    "suffix": (None, ""),
    "top_k": (None, 0, -1),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
})  # fmt: skip
"""Parameters that are not done here, with the values by which they ask for nothing: only with
these they are accepted."""

MOST_ITEMS = 2048
"""Of a list, such as a conversation's messages."""

_LEAST_TOP_P = 1e-6
"""A smaller one may be 0 in float32, which leaves no token; it means the likeliest token too."""


def _computed_temperature(value: float) -> float:
    return value if value >= LEAST_TEMPERATURE else 0.0


def _computed_top_p(value: float) -> float:
    return max(value, _LEAST_TOP_P)


Temperature = Annotated[float, Field(ge=0, le=2), AfterValidator(_computed_temperature)]
TopP = Annotated[float, Field(gt=0, le=1), AfterValidator(_computed_top_p)]
Tokens = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
MostAnswers = Annotated[int, Field(ge=1, le=8)]
"""Number of answers; each takes a place of the queue."""
_MOST_STOP_TEXTS = 4


def _check_stop_texts(value: str | list[str]) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if len(texts) > _MOST_STOP_TEXTS:
        raise ValueError(f"{len(texts)} texts; at most {_MOST_STOP_TEXTS} are accepted")
    if "" in texts:
        raise ValueError("an empty text would end every answer")
    return texts


StopTexts = Annotated[str | list[str], AfterValidator(_check_stop_texts)]
"""Texts at which an answer ends, without them."""


class StrictModel(BaseModel):
    """A part of a body, whose values have the types that are named, and no other names.

    Numbers are finite, and none is made of a text, or of true and false.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _with_accepted(schema: dict[str, Any], body: type[Any]) -> None:
    """Have the OpenAPI document say what is accepted without effect."""
    accepted: dict[str, Any] = {
        name: {"description": f"{text}; no effect"} for name, text in body.harmless.items()
    }
    accepted |= {name: {"enum": list(values)} for name, values in body.neutral.items()}
    schema["properties"] = accepted | schema["properties"]


class RequestBody(StrictModel):
    """A body, which may also have the parameters of HARMLESS, and those of NEUTRAL."""

    model_config = ConfigDict(json_schema_extra=_with_accepted)
    harmless: ClassVar[Mapping[str, str]] = HARMLESS
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = NEUTRAL

    @model_validator(mode="before")
    @classmethod
    def _look_at_all(cls, values: Any) -> Any:
        _refuse_unusable(values)
        if not isinstance(values, dict):
            return values
        return {
            name: value
            for name, value in values.items()
            if name in cls.model_fields or not cls._asks_for_nothing(name, value)
        }

    @classmethod
    def _asks_for_nothing(cls, name: str, value: Any) -> bool:
        return name in cls.harmless or is_among(value, cls.neutral.get(name, ()))


def is_among(value: Any, accepted: Sequence[Any]) -> bool:
    """Whether the value is one of these; false is none of the numbers, as 0 is to Python."""
    return any(
        value == each and isinstance(value, bool) == isinstance(each, bool) for each in accepted
    )


def _refuse_unusable(body: Any) -> None:
    """Refuse what no field may have, by its place, before the fields are looked at.

    Each item of a list may add problems of its own, and a text with half of a surrogate pair,
    which JSON can express, cannot be encoded: not to tokens, nor into a response.
    """
    waiting: list[tuple[str, Any]] = [("", body)]
    while waiting:
        place, value = waiting.pop()
        match value:
            case str() if not _is_encodable(value):
                raise ValueError(f"{place[1:]}: the text has half of a surrogate pair")
            case list() if len(value) > MOST_ITEMS:
                raise ValueError(
                    f"{place[1:]}: {len(value)} items; at most {MOST_ITEMS} are accepted"
                )
            case list():
                waiting += ((f"{place}.{number}", item) for number, item in enumerate(value))
            case dict() if not all(map(_is_encodable, value)):
                raise ValueError(f"{place[1:] or 'the body'}: a name has half of a surrogate pair")
            case dict():
                waiting += ((f"{place}.{name}", item) for name, item in value.items())


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
