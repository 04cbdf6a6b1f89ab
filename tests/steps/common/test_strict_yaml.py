"""YAML errors as users need them."""

from __future__ import annotations

import pytest

from argotune.steps.common.strict_yaml import Document, YamlProblem, load, load_all


def test_documents_come_with_the_line_on_which_they_start() -> None:
    text = "# a comment\na: 1\n---\n# nothing\n---\n- b\n"
    assert load_all(text) == [Document(line=2, value={"a": 1}), Document(line=6, value=["b"])]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_text_without_a_document(text: str) -> None:
    assert load_all(text) == []
    assert load(text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: duplicate key a"),
        ("a:\n  b: 1\n  b: 1\n", "line 3, column 3: duplicate key b"),
        ("a: [1\n", "line 2, column 1: while parsing a flow sequence, did not find"),
        ("a: !!python/name:os.system x\n", "line 1, column 4: could not determine a constructor"),
        ("a: 1\n---\nb: 1\n", "line 3: second document; expected one document"),
        ("a: \x07\n", "unacceptable character"),
        ("a: 0x_\n", "a value does not fit its tag: "),
        ("a: !!bool maybe\n", "a value does not fit its tag: "),
        ("a: !!timestamp never\n", "a value does not fit its tag: "),
        ("[" * 200_000, "line 1, column 101: over 100 lists and mappings inside one another"),
        ("- " * 200_000 + "a", "line 1, column 201: over 100 lists and mappings inside one"),
        ("a: &a [*a]\n", "line 1, column 8: the alias *a stands inside what it names"),
    ],
)
def test_problem_says_where_it_is(text: str, message: str) -> None:
    with pytest.raises(YamlProblem) as caught:
        load(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_merge_keys_are_no_twins() -> None:
    assert load("base: &base {a: 1}\nother: {<<: *base, b: 2}\n")["other"] == {"a": 1, "b": 2}
