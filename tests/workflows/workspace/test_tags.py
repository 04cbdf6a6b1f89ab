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
def test_a_parameters_tag_has_its_dollars_doubled_and_can_be_read_again(
    text: str, literal: str
) -> None:
    assert tags.literal(text) == literal
    assert tags.plain(literal) == text


@pytest.mark.parametrize("text", ["{{workflow.uid}}", "{{retries}}", "[]", "$(HOME)"])
def test_what_no_submitter_writes_stays(text: str) -> None:
    assert tags.literal(text) == tags.plain(text) == text


def test_the_parameter_of_a_plain_tag_and_of_a_guarded_one() -> None:
    assert tags.parameter_of("{{workflow.parameters.push-secret}}") == "push-secret"
    guarded = "{{=workflow.parameters['hub'] matches '^a$' ? workflow.parameters['hub'] : 'no'}}"
    assert tags.parameter_of(guarded) == "hub"
    for other in ("argotune-push", "{{workflow.name}}", "{{inputs.parameters.x}}"):
        assert tags.parameter_of(other) is None
