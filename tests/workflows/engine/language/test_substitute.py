import pytest

from argotune.workflows.engine.errors import ExpressionError, UnresolvedError
from argotune.workflows.engine.language.substitute import Scope, substitute, substitute_text, tags

SCOPE = Scope(
    {
        "inputs.parameters.text": 'a "quoted"\n\x07 {{workflow.name}} value',
        "inputs.parameters.blue": "sky",
        "inputs.parameters.number": "5",
        "item": "blue",
        "workflow.name": "wf",
        "workflow.parameters": "[]",
        "workflow.parameters.x": "1",
    }
)


def test_values_are_put_in_once_and_as_they_are() -> None:
    assert substitute_text("<{{inputs.parameters.text}}>", SCOPE) == (
        '<a "quoted"\n\x07 {{workflow.name}} value>'
    )


def test_every_string_of_a_structure_is_replaced() -> None:
    value = {"{{item}}": ["{{ item }}", 5, None, {"a": "{{workflow.name}}-{{item}}"}]}
    assert substitute(value, SCOPE) == {"blue": ["blue", 5, None, {"a": "wf-blue"}]}


def test_a_tag_in_a_tag_is_replaced_first() -> None:
    assert substitute_text("{{inputs.parameters.{{item}}}}", SCOPE) == "sky"


def test_unknown_tags_stay_unless_they_are_strict() -> None:
    assert substitute_text("{{user}} {{ open", SCOPE) == "{{user}} {{ open"
    with pytest.raises(UnresolvedError, match=r"failed to resolve {{tasks.a.outputs.result}}"):
        substitute_text("{{tasks.a.outputs.result}}", SCOPE, ("tasks",))


def test_expressions_see_nested_names_and_the_inner_name_wins() -> None:
    assert substitute_text("{{=asInt(inputs.parameters.number) + 1}}", SCOPE) == "6"
    assert substitute_text("{{=toJson(workflow.parameters)}}", SCOPE) == '{"x":"1"}'
    assert substitute_text("{{=[1, 'a']}}", SCOPE) == '[1,"a"]'


def test_an_expression_without_a_value_is_an_error() -> None:
    with pytest.raises(ExpressionError, match="the value is nil"):
        substitute_text("{{=inputs.parameters.absent}}", SCOPE)


def test_tags_finds_inner_ones_too() -> None:
    found = [tag.source for tag in tags({"a": ["{{b{{c}}}} {{=d}}"]})]
    assert found == ["b{{c}}", "c", "=d"]
