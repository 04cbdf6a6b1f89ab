from __future__ import annotations

from pathlib import Path

import pytest

from argotune.steps import tiny
from argotune.steps.tokens.call_syntax import CALL_ID, CallSyntax, Render, find_call_syntax
from argotune.steps.tokens.spans import render_text
from tests.fakes.tokenizer import MARKED_TEMPLATE

TINY_TEMPLATE = Path(tiny.__file__).with_name("chat_template.jinja").read_text()
QWEN_TEMPLATE = Path(__file__).with_name("qwen2_5_training.jinja").read_text()
# The part of Mistral's that writes calls, which refuses ids of another length.
MISTRAL_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS][INST] {{ m['content'] }}[/INST]"
    "{% elif m['tool_calls'] is defined %}[TOOL_CALLS] [{% for call in m['tool_calls'] %}"
    "{% if call['id'] | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}"
    "{% set out = call['function'] | tojson %}"
    "{{ out[:-1] + ', \"id\": \"' + call['id'] + '\"}' }}{{ ', ' if not loop.last }}{% endfor %}]"
    "{{ eos_token }}{% endif %}{% endfor %}"
)
LLAMA_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['tool_calls'] is defined %}"
    "{% if m['tool_calls'] | length > 1 %}{{ raise_exception('one call') }}{% endif %}"
    "{% set f = m['tool_calls'][0]['function'] %}"
    "{{ '{\"name\": \"' + f['name'] + '\", \"parameters\": ' + (f['arguments'] | tojson) + \"}\" }}"
    "{% else %}{{ m['content'] }}{% endif %}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TAGS = CallSyntax(
    head='<tool_call>\n{"name": "',
    middle='", "arguments": ',
    between='}\n</tool_call>\n<tool_call>\n{"name": "',
    tail="}\n</tool_call>",
    item_separator=", ",
    key_separator=": ",
)


def render_with(source: str) -> Render:
    return lambda row, opens_answer: render_text(
        source, row, {"eos_token": "</s>"}, add_generation_prompt=opens_answer
    )


@pytest.mark.parametrize(
    ("source", "end_of_turn"),
    [(TINY_TEMPLATE, "<|end|>"), (QWEN_TEMPLATE, "<|im_end|>")],
    ids=["tiny", "qwen"],
)
def test_tagged_calls(source: str, end_of_turn: str) -> None:
    assert find_call_syntax(render_with(source), end_of_turn) == TAGS


def test_a_list_of_calls_with_ids() -> None:
    assert find_call_syntax(render_with(MISTRAL_TEMPLATE), "</s>") == CallSyntax(
        head='[TOOL_CALLS] [{"name": "',
        middle='", "arguments": ',
        between=f', "id": "{CALL_ID}"}}, {{"name": "',
        tail=f', "id": "{CALL_ID}"}}]',
        item_separator=", ",
        key_separator=": ",
    )


def test_a_template_of_one_call_has_nothing_between_calls() -> None:
    found = find_call_syntax(render_with(LLAMA_TEMPLATE), "<|eot_id|>")
    assert found is not None
    assert (found.head, found.middle, found.between, found.tail) == (
        '{"name": "',
        '", "parameters": ',
        None,
        "}",
    )


def test_a_template_that_writes_no_calls_has_no_syntax() -> None:
    assert find_call_syntax(render_with(MARKED_TEMPLATE), "<|end|>") is None
