"""Tags of parameters in a container's flags."""

from __future__ import annotations

import pytest

from argotune.workflows.workspace import tags


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("{{inputs.parameters.node-selector}}",
         "{{=replace(inputs.parameters['node-selector'], '$', '$$')}}"),
        ("/history/{{workflow.parameters.name}}.json",
         "/history/{{=replace(workflow.parameters['name'], '$', '$$')}}.json"),
        ("{{workflow.parameters.a}}:{{workflow.parameters.b}}",
         "{{=replace(workflow.parameters['a'], '$', '$$')}}:"
         "{{=replace(workflow.parameters['b'], '$', '$$')}}"),
    ],
)  # fmt: skip
def test_a_parameters_tag_has_its_dollars_doubled(text: str, literal: str) -> None:
    assert tags.literal(text) == literal


@pytest.mark.parametrize("text", ["{{workflow.uid}}", "{{retries}}", "[]", "$(HOME)"])
def test_what_no_submitter_writes_stays(text: str) -> None:
    assert tags.literal(text) == text


def test_the_parameter_of_a_plain_tag_and_of_a_guarded_one() -> None:
    assert tags.parameter_of("{{workflow.parameters.push-secret}}") == "push-secret"
    guarded = "{{=workflow.parameters['hub'] matches '^a$' ? workflow.parameters['hub'] : 'no'}}"
    assert tags.parameter_of(guarded) == "hub"
    for other in ("argotune-push", "{{workflow.name}}", "{{inputs.parameters.x}}"):
        assert tags.parameter_of(other) is None


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\n", "\U000e0001"])
def test_control_characters_are_refused(character: str) -> None:
    problem = tags.unsafe(f"a{character}b")
    assert problem == (
        f"accepted is a text without control characters, here U+{ord(character):04X}"
    )


@pytest.mark.parametrize("text", ["", "plain", "Grüße, 世界 {x} }}", "a'b\"c"])
def test_ordinary_texts_pass(text: str) -> None:
    assert tags.unsafe(text) is None


def test_a_config_may_have_lines() -> None:
    assert tags.unsafe("a:\n\tb\n", lines=True) is None
    assert tags.unsafe("a:\r\n", lines=True) is not None
