import pytest

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.when import should_execute


@pytest.mark.parametrize(
    "when",
    [
        "", "red == red", "'red' == \"red\"", "red != blue", "5 > 3", "5 == 5.0", "'b' > 'a'",
        "red in (red, blue)", "1 in (1, 2)", "red =~ '^r.d$'", "red !~ blue", "!false",
        "true && !false", "false || (1 == 1)", "7 % 4 == 3", "2 ** 3 == 8", "-1 < 0",
        "'a' + 'b' == ab", "true ? true : false", "[red wine] == 'red wine'", "0x10 == 16",
        "10 / 4 == 2.5", "6 & 3 == 2", "'' == ''",
    ],
)  # fmt: skip
def test_conditions_that_hold(when: str) -> None:
    assert should_execute(when) is True


@pytest.mark.parametrize("when", ["red == blue", "'5' == 5", "true == 'true'", "1 in (2, 3)"])
def test_conditions_that_do_not_hold(when: str) -> None:
    assert should_execute(when) is False


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("a-b == a-b", "Value 'a' cannot be used with the operator '-', it is not a number"),
        ("{{x}} == 1", r"Invalid token: '{{' \(hint: try wrapping the affected expression"),
        ("5", "Expected boolean evaluation for '5'. Got 5"),
        ("== 1", "unexpected '=='"),
        ("red ==", "Unexpected end of expression"),
        ("red blue", "unexpected 'blue'"),
        ("(1 == 1", "Unbalanced parenthesis"),
        ("1.2.3 == 1", "Unable to parse numeric value '1.2.3'"),
        ("5 > '3'", "Value '3' cannot be used with the operator '>'"),
        ("a.b == c", "put it in quotes"),
    ],
)
def test_broken_conditions_say_what_is_wrong(when: str, problem: str) -> None:
    with pytest.raises(ExpressionError, match=problem):
        should_execute(when)
