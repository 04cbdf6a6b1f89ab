from typing import Any

import pytest

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.expr import evaluate, evaluate_bool
from argotune.workflows.engine.language.govalues import go_json

ENV: dict[str, Any] = {
    "inputs": {"parameters": {"n": "5", "list": "[1,2,3]", "a-b": "dash"}},
    "l": [1, 2, 3, 4],
    "m": {"x": 1, "y": "z"},
    "t": True,
}

# Each answer is the one of github.com/expr-lang/expr 1.17.7, as JSON.
ANSWERS = [
    ("1 + 2 * 3", "7"), ("6 / 2", "3"), ("7 % 3", "1"), ("-7 % 3", "-1"),
    ("2 ** 3 ** 2", "512"), ("2 ^ 3", "8"), ("-2 ** 2", "-4"), ("1 == 1.0", "true"),
    ("not true || true", "true"), ("!t && false", "false"), ("1 in l", "true"),
    ("5 not in l", "true"), ('"x" in m', "true"), ("m.nope", "null"), ('m["y"]', '"z"'),
    ("m?.nope?.deep", "null"), ('m.nope ?? "d"', '"d"'), ("l[-1]", "4"), ("l[1:3]", "[2,3]"),
    ('"hello"[1:3]', '"el"'), ('t ? "a" : "b"', '"a"'), ("filter(l, # > 2)", "[3,4]"),
    ("filter(l, {# > 2})", "[3,4]"), ("l | filter(# > 1) | map(# + 1) | sum()", "12"),
    ("reduce(l, #acc + #, 10)", "20"), ("find(l, # > 2)", "3"), ("findLastIndex(l, # > 2)", "3"),
    ("sortBy(l, -#)", "[4,3,2,1]"), ('map([{"a": 1}, {"a": 2}], .a)', "[1,2]"),
    ('len("héllo")', "5"), ('int("42") + 1', "43"), ("int(2.9)", "2"), ("string(2.5)", '"2.5"'),
    ("string(l)", '"[1 2 3 4]"'), ("string(m)", '"map[x:1 y:z]"'), ("string(1e21)", '"1e+21"'),
    ("string(1000000.0)", '"1e+06"'), ("string(0.00001)", '"1e-05"'), ("round(-2.5)", "-3"),
    ("median(1, 2, 3, 10)", "2.5"), ('trim("__a__", "_")', '"a"'),
    ('split("a,b,c", ",", 2)', '["a","b,c"]'), ('splitAfter("a,b", ",")', '["a,","b"]'),
    ('replace("aaa", "a", "b", 2)', '"bba"'),
    ('toJSON({"a": [1]})', r'"{\n  \"a\": [\n    1\n  ]\n}"'),
    ('fromJSON(inputs.parameters.list)[1] + 1', "3"), ("uniq([1, 2, 1])", "[1,2]"),
    ("flatten([1, [2, [3]]])", "[1,2,3]"), ("type(nil)", '"nil"'), ('get(m, "x")', "1"),
    ("1..4", "[1,2,3,4]"), ('"abc" matches "^a.c$"', "true"), ('"abc" not contains "z"', "true"),
    ("let x = 2; x * 3", "6"), ("if t { 1 } else { 2 }", "1"), ('{"a": 1, b: 2}', '{"a":1,"b":2}'),
    ('inputs.parameters["a-b"]', '"dash"'), ("0x1F", "31"), ("1_000", "1000"), (".5 + 1", "1.5"),
    ("1 /* c */ + 1 // d", "2"), ("'it\\'s'", '"it\'s"'), ("`raw \\n`", r'"raw \\n"'),
    ("asInt(inputs.parameters.n) > 3", "true"), ('asFloat("2.5") * 2', "5"),
    ('sprig.trimPrefix("a-", "a-b")', '"b"'), ('sprig.default("d", "")', '"d"'),
    ('sprig.date("2006-01-02 15:04:05", 86400)', '"1970-01-02 00:00:00"'),
    ('len(sprig.date("2006", m))', "4"), ('sprig.date("2006", "1999") == "1999"', "false"),
    ('jsonpath("{\\"a\\": {\\"b\\": [1, 2]}}", "$.a.b[1]")', "2"),
    ('jsonpath("{\\"a\\": [{\\"b\\": 1}, {\\"b\\": 2}]}", "$..b")', "[1,2]"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "answer"), ANSWERS)
def test_expressions_have_the_value_they_have_in_go(source: str, answer: str) -> None:
    assert go_json(evaluate(source, ENV)) == answer


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('"1" == 1', "cannot compare string with number"),
        ("inputs.parameters.n > 3", "cannot compare string > number"),
        ('"a" + 1', r"\+ needs a number, got string 'a'"),
        ("nope.a", "unknown name nope"),
        ("m.nope.deep", "cannot read m.nope.deep of nil"),
        ("l[10]", r"index 10 is out of range \(length 4\)"),
        ('int("x")', r"invalid value for int\(x\)"),
        ("1 +", "unexpected end at 4"),
        ("(1", r"expected '\)', found the end"),
        ("1 1", "unexpected '1' at 3"),
        ("'open", 'unrecognized character "\'"'),
        ("l | 3", "expected a name, found '3'"),
        ("filter(l, #)", "filter's predicate must be true or false, got 1"),
        ("t(1)", "t is not a function"),
        ('jsonpath("{}", "$.a")', r"JSONPath '\$.a' finds nothing: there is no 'a' in map"),
        ("1 / 0", "division by zero"),
        ("sprig.upper(1)", "invalid operand"),
    ],
)
def test_broken_expressions_say_what_is_wrong(source: str, problem: str) -> None:
    with pytest.raises(ExpressionError, match=problem):
        evaluate(source, ENV)


def test_a_condition_must_be_a_boolean() -> None:
    assert evaluate_bool("1 < 2 and 2 < 3", ENV) is True
    with pytest.raises(ExpressionError, match="'1 \\+ 1' is 2, expected true or false"):
        evaluate_bool("1 + 1", ENV)
