from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fields import fields_of, parse_fields, text_of


@dataclass(frozen=True, kw_only=True)
class Params:
    """An example."""

    learning_rate: float
    """Step size;
    no unit."""
    urls: tuple[str, ...] = ()
    """Where from."""
    method: Literal["lora", "qlora"] = "qlora"
    """Which."""
    plan_file: Path | None = None
    """A file."""
    steps: int = 3
    """How many."""
    dry: bool = False
    """Whether."""


def test_fields_carry_the_docstring_the_default_and_the_choices() -> None:
    fields = {field.kebab: field for field in fields_of(Params)}
    assert list(fields) == ["learning-rate", "urls", "method", "plan-file", "steps", "dry"]
    assert fields["learning-rate"].doc == "Step size; no unit."
    assert fields["learning-rate"].default is None
    assert fields["method"].choices == ("lora", "qlora")
    assert fields["plan-file"].default == ""
    assert fields["urls"].default == "[]"
    assert fields["dry"].default == "false"


def test_fields_of_a_class_that_is_extended_come_first_with_their_docstrings() -> None:
    @dataclass(frozen=True, kw_only=True)
    class More(Params):
        """An example with more."""

        grace_seconds: float = 60.0
        """How long."""

    fields = fields_of(More)
    assert [field.kebab for field in fields[:-1]] == [field.kebab for field in fields_of(Params)]
    assert fields[0].doc == "Step size; no unit."
    assert (fields[-1].kebab, fields[-1].doc) == ("grace-seconds", "How long.")


def test_texts_become_typed_values() -> None:
    params = parse_fields(
        Params,
        {
            "learning-rate": "2e-4",
            "urls": '["https://a", "b, c"]',
            "method": "lora",
            "plan-file": "/plan.yaml",
            "steps": "7",
            "dry": "true",
        },
    )
    assert params == Params(
        learning_rate=2e-4,
        urls=("https://a", "b, c"),
        method="lora",
        plan_file=Path("/plan.yaml"),
        steps=7,
        dry=True,
    )


def test_empty_text_is_none_where_none_is_accepted() -> None:
    assert parse_fields(Params, {"learning-rate": "1", "plan-file": ""}).plan_file is None


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A number or a word."""

    loss: float | Literal["not measured"]
    """Nats."""


@pytest.mark.parametrize("value", [0.25, "not measured"])
def test_a_word_stands_beside_the_values_of_a_kind(value: float | str) -> None:
    assert parse_fields(Loss, {"loss": text_of(value)}).loss == value


@pytest.mark.parametrize("text", ["", "unknown"])
def test_another_word_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(ParamsError) as raised:
        parse_fields(Loss, {"loss": text})
    assert str(raised.value) == f"--loss: {text!r} is not a number or 'not measured'"


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ParamsError) as raised:
        parse_fields(
            Params,
            {"urls": "https://a", "method": "full", "steps": "many", "dry": "yes", "colour": "red"},
        )
    assert raised.value.problems == [
        "--colour: unknown; known are dry, learning-rate, method, plan-file, steps, urls",
        "--learning-rate: missing; Step size; no unit.",
        '--urls: \'https://a\' is not a JSON list of strings, such as ["a", "b"]',
        "--method: 'full' is not one of 'lora', 'qlora'",
        "--steps: 'many' is not a whole number",
        "--dry: 'yes' is neither 'true' nor 'false'",
    ]


def test_a_list_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ParamsError, match="is not a JSON list of strings"):
        parse_fields(Params, {"learning-rate": "1", "urls": "[" * 100_000})


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (("a", "ä"), '["a", "ä"]'), (0.25, "0.25"), (Path("/x"), "/x")],
)
def test_values_become_the_text_that_argo_shows(value: object, text: str) -> None:
    assert text_of(value) == text
