"""What a YAML text may cost, counted before any of it is built."""

from __future__ import annotations

import pytest
import yaml

from argotune.steps.common.strict_yaml import YamlProblem, load
from argotune.steps.common.yaml_limits import MAX_BYTES, check_limits


def laughs(first: str, others: str) -> str:
    """Nine lines, of which each names the one before it nine times."""
    lines = [f"l0: &l0 {first}"]
    lines += [f"l{n}: &l{n} {others.format(', '.join([f'*l{n - 1}'] * 9))}" for n in range(1, 9)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("first", "others"),
    [("[lol]", "[{}]"), ("{lol: lol}", "{{<<: [{}]}}")],
    ids=["lists", "merge keys"],
)
def test_aliases_of_aliases_are_refused_though_their_text_is_short(first: str, others: str) -> None:
    text = laughs(first, others)
    assert len(text) < 600
    with pytest.raises(YamlProblem, match="over 16 MiB of values"):
        load(text)


def test_aliases_of_one_long_text_are_refused() -> None:
    text = f"a: &a {'x' * (MAX_BYTES // 8)}\nb: [{', '.join(['*a'] * 8)}]\n"
    with pytest.raises(yaml.MarkedYAMLError, match="over 16 MiB of values"):
        check_limits(text)


def test_aliases_that_stay_small_are_read() -> None:
    assert load("a: &a [1, 2]\nb: [*a, *a]\n")["b"] == [[1, 2], [1, 2]]


def test_an_anchor_counts_in_its_own_document_only() -> None:
    check_limits("\n---\n".join(["a: &a [1]\nb: *a"] * 3))


def test_a_hundred_levels_are_read() -> None:
    check_limits("[" * 100 + "]" * 100)
