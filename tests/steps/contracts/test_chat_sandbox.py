"""What a foreign chat template may cost, in characters and in time."""

from __future__ import annotations

import pytest

from argotune.steps.contracts import chat_sandbox
from argotune.steps.contracts.chat_sandbox import ChatSandbox, TemplateFailure, bounded_rendering

BIG = "{%- set big = 'x' * 10000000 %}"
TOO_LARGE = "it makes a value of over 67108864 characters"


def render(source: str, **variables: object) -> str:
    with bounded_rendering():
        return ChatSandbox().from_string(source).render(**variables)


@pytest.mark.parametrize(
    "expression",
    [
        "'x' * 10 ** 9",
        "10 ** 9 * ['x']",
        "'x'.ljust(10 ** 9)",
        "'x'.center(width=1000000000)",
        "'x' | center(1000000000)",
        "['x'] | map('center', 1000000000) | list",
        "'\\n' | indent(1000000000)",
        "{'a': 1} | tojson(indent=1000000000)",
        "[1] | batch(1000000000, 'x') | list",
        "big.replace('x', 'yyyyyyyyyy')",
        "big | replace('x', 'y' * 10000)",
        "big.replace('x', 'y' * 10000)",
        "(['a'] * 10000) | join('y' * 100000)",
        "[big] * 7",
        "[big, big, big, big, big, big, big] | join",
        "big ~ big ~ big ~ big ~ big ~ big ~ big",
        "[[big] * 6, [big] * 6] | string",
        "'{0}{0}{0}{0}{0}{0}{0}'.format(big)",
        "'%s%s%s%s%s%s%s' % (big, big, big, big, big, big, big)",
    ],
)
def test_a_value_that_is_too_large_is_refused_before_it_is_made(expression: str) -> None:
    with pytest.raises(TemplateFailure, match=TOO_LARGE):
        render(f"{BIG}{{{{ ({expression}) | length }}}}")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{% for i in range(10 ** 9) %}{% endfor %}", "Range too big"),
        ("{{ 10 ** 10 ** 9 }}", "it computes a number of over 64 bits"),
        ("{{ (2 ** 60) * (2 ** 60) }}", "it computes a number of over 64 bits"),
        ("{{ '%999999999d' % 1 }}", "it formats a field of unlimited width"),
        ("{{ '%*d' % (999999999, 1) }}", "it formats a field of unlimited width"),
        ("{{ '%999999999d' | format(1) }}", "it formats a field of unlimited width"),
        ("{{ '{:999999999}'.format(1) }}", "it formats a field of unlimited width"),
        ("{{ lipsum(1000000) }}", "'lipsum' is undefined"),
        ("{{ 1 // 0 }}", "integer division or modulo by zero"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "it calls itself without end"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "or is nested too deeply"),
        (BIG + "{% for i in range(7) %}{{ big }}{% endfor %}", "it writes over 67108864"),
        (
            "{% set ns = namespace(x='x') %}{% for i in range(40) %}"
            "{% set ns.x = ns.x + ns.x %}{% endfor %}",
            TOO_LARGE,
        ),
        (
            "{% set x = 'x' * 1000 %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
            "it writes over 67108864 characters",
        ),
        (
            "{% macro m() %}" + "x" * 10**6 + "{% endmacro %}"
            "{% for i in range(68) %}{{ m() and '' }}{% endfor %}",
            "it writes over 67108864 characters",
        ),
    ],
)
def test_what_has_no_end_is_refused(source: str, problem: str) -> None:
    with pytest.raises(TemplateFailure, match=problem):
        render(source)


@pytest.mark.parametrize(
    "inner", ["{% for j in range(99999) %}{% endfor %}", "{% for j in range(9) if 0 %}{% endfor %}"]
)
def test_loops_end_with_the_time(inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_sandbox, "MAX_SECONDS", 0.01)
    with pytest.raises(TemplateFailure, match=r"it takes over 0\.01 s"):
        render("{% for i in range(99999) %}" + inner + "{% endfor %}")


def test_memory_that_is_not_there_is_a_failure_of_the_template() -> None:
    def exhausted() -> None:
        raise MemoryError

    with pytest.raises(TemplateFailure, match="it needs more memory than there is"):
        render("{{ exhausted() }}", exhausted=exhausted)


def test_a_usual_template_renders_as_in_jinjas_own_sandbox() -> None:
    source = (
        "{% for m in messages if m.role != 'tool' %}{{ loop.index }}/{{ loop.length }}"
        "{{ '<|' ~ m.role ~ '|>' + m.content.strip() | upper }}"
        "{% if loop.last %}.{% endif %}{% endfor %}"
        "{% macro tag(x) %}[{{ x }}]{% endmacro %}{{ tag('a') }}"
        "{% macro box(x) %}({{ x }}{{ caller(1) }}){% endmacro %}"
        "{% call(y) box('b') %}<{{ y }}>{% endcall %}"
        "{{ '%s-%d' % ('a', 2) }}{{ {'a': [1]} | tojson }}"
        "{{ 'a,b 1234567'.split(',') | join('+') }}{{ nothing }}{{ none }}{{ 3 * 4 + 2 ** 3 }}"
    )
    messages = [{"role": role, "content": " hi "} for role in ("user", "tool", "assistant")]
    expected = ChatSandbox.__mro__[1]().from_string(source).render(messages=messages)
    assert render(source, messages=messages) == expected
