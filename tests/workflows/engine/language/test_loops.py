import pytest

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.loops import go_format, loop_index, loop_items, sequence
from argotune.workflows.engine.language.substitute import Scope

SCOPE = Scope({"inputs.parameters.list": '["x", {"k": [1]}, [1, "a"], true, 2.5]'})


def test_items_name_the_turns_and_their_variables() -> None:
    step = {"name": "s", "withParam": "{{inputs.parameters.list}}"}
    found = loop_items(step, SCOPE, ())
    assert [turn.name for turn in found] == [
        "s(0:x)", "s(1:k:[1])", "s(2:[1 a])", "s(3:true)", "s(4:2.5)",
    ]  # fmt: skip
    assert dict(found[1].variables) == {"item": '{"k":[1]}', "item.k": "[1]"}
    assert dict(found[2].variables) == {"item": '[1,"a"]'}


def test_parentheses_do_not_reach_the_name() -> None:
    [turn] = loop_items({"name": "s", "withItems": ["f(x)"]}, SCOPE, ())
    assert (turn.name, turn.variables["item"]) == ("s(0:fx)", "f(x)")


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [
        ({"count": 3}, ["0", "1", "2"]),
        ({"count": "2", "start": "5", "format": "n%03d"}, ["n005", "n006"]),
        ({"start": 3, "end": 1}, ["3", "2", "1"]),
        ({"count": 0}, []),
    ],
)
def test_sequences(spec: dict[str, object], numbers: list[str]) -> None:
    assert sequence(spec) == numbers


def test_formats_are_gos() -> None:
    assert go_format("%02X %x %o %b %v %5d| 100%%", 255) == "FF ff 377 11111111 255   255| 100%"


def test_what_is_no_list_is_an_error() -> None:
    with pytest.raises(ExpressionError, match="withParam value could not be parsed as a JSON list"):
        loop_items({"name": "s", "withParam": "nothing"}, SCOPE, ())
    with pytest.raises(ExpressionError, match=r"withSequence\.count must be an integer, got 'x'"):
        sequence({"count": "x"})


def test_a_list_that_is_nested_too_deeply_is_an_error() -> None:
    with pytest.raises(ExpressionError, match="withParam value could not be parsed as a JSON list"):
        loop_items({"name": "s", "withParam": "[" * 100_000}, SCOPE, ())


def test_the_index_is_read_back_from_a_name() -> None:
    assert loop_index("wf.a(1:x).b(12:y:z)") == 12
