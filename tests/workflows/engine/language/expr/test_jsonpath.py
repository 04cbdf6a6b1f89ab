import re
import subprocess
import sys
from typing import Any

import pytest

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.expr.jsonpath import query
from argotune.workflows.engine.language.govalues import go_json

DOCUMENT: dict[str, Any] = {
    "people": [
        {"name": "x", "age": 3, "tags": ["p", "q"]},
        {"name": "y", "age": 5, "ok": True},
        {"name": "z", "n": None},
    ],
    "max": 4,
    "b-c": {"k": [10, 20, 30]},
    "length": 7,
}

# Each answer is the one of github.com/evilmonkeyinc/jsonpath 0.8.1, as JSON.
ANSWERS = [
    ("$.people[1].name", '"y"'),
    ("$.people[-1].name", '"z"'),
    ("$['people'][0]['name']", '"x"'),
    ("$.b-c.k[1]", "20"),
    ("$.people[*].age", "[3,5]"),
    ("$..k", "[10,20,30]"),
    ("$..name", '["x","y","z"]'),
    ("$.people[0:2].name", '["x","y"]'),
    ("$.b-c.k[::-1]", "[30,20,10]"),
    ("$.b-c.k[0,2,9]", "[10,30]"),
    ("$.people[0]['name','age','nope']", '["x",3]'),
    ("$.b-c.*", "[[10,20,30]]"),
    ("$.people.length", "3"),
    ("$.length", "7"),
    ("$.people[?(@.name=='x')].age", "[3]"),
    ('$.people[?(@.name=="y")].ok', "[true]"),
    ("$.people[?(@.age)].name", '["x","y"]'),
    ("$.people[?(@.age>3)].name", '["y"]'),
    ("$.people[?(@.age >= 3 && @.name != 'x')].name", '["y"]'),
    ("$.people[?(@.age<$.max)].name", '["x"]'),
    ("$.people[?(@.age==5 || @.name=='z')].name", '["y"]'),
    ("$.people[?(!@.age)].name", "[]"),
    ("$.people[?(@.age!=3)].name", '["y"]'),
    ("$.people[?(@.name<'y')].name", "[]"),
    ("$.people[?(@.ok==true)].name", '["y"]'),
    ("$.people[?(@.n==null)].name", '["z"]'),
    ("$.people[?(@.tags.length==2)].name", '["x"]'),
    ("$.people[?(@.tags[0]=='p')].tags", '[["p","q"]]'),
    ("$.people[?(@.name=='x')][0].age", "3"),
    ("$.people[1:][0].name", '"y"'),
    ("$.people[?(@.name=='nope')].age", "[]"),
    ("$.b-c.k[?(@>10)]", "[20,30]"),
    ("$.b-c[?(@.length==3)]", "[[10,20,30]]"),
    ("$.people[?(@.name=='x')].tags[*]", '[["p","q"]]'),
    ("$..[?(@.age>3)].name", '["y"]'),
    ("$.people[*].tags[0]", '["p"]'),
]


@pytest.mark.parametrize(("path", "answer"), ANSWERS)
def test_paths_find_what_they_find_on_argo(path: str, answer: str) -> None:
    assert go_json(query(DOCUMENT, path)) == answer


@pytest.mark.parametrize(
    "path",
    [
        "$.nope", "$.people[3]", "$.people.name", "$.max[0]", "$.max.*", "$.people[2].n.x",
        "$.max[1:]", "$.people['name','age']", "$.max[?(@)]", "$.people[0]['length']",
    ],
)  # fmt: skip
def test_a_path_that_finds_nothing_is_an_error_as_on_argo(path: str) -> None:
    with pytest.raises(ExpressionError, match=rf"^JSONPath {re.escape(repr(path))} finds nothing"):
        query(DOCUMENT, path)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("people", "it must begin with $"),
        ("", "it must begin with $"),
        ("$.people[?@.age]", "a filter stands in parentheses, [?(...)]"),
        ("$.people[?((@.age) && (@.name))]", "a filter has no parentheses inside"),
        ("$.people[?(length(@.tags) == 2)]", "a filter has no parentheses inside"),
        ("$.people[(@.length-1)]", "unexpected token in bracketed selection"),
        ("$.people[?(@.age in [3])]", "unexpected"),
        ("$.people[0,1:2]", "a union has either names or indexes"),
        ("$.people[?(@.tags[0:1,1:2])]", "a union has either names or indexes"),
        ("$.people[", "unexpected"),
    ],
)
def test_a_path_that_argo_reads_otherwise_is_refused(path: str, problem: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(problem)) as raised:
        query(DOCUMENT, path)
    assert "accepted are members, .length, indexes" in str(raised.value)


def test_deep_json_is_an_error_and_no_crash() -> None:
    document: Any = 1
    for _ in range(sys.getrecursionlimit()):
        document = [document]
    with pytest.raises(ExpressionError, match="nested too deeply"):
        query(document, "$..a")


def test_the_command_line_starts_without_the_jsonpath_library() -> None:
    source = "import argotune.workflows.cli.commands.run, sys; print('jsonpath' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)
    assert done.stdout == b"False\n"
