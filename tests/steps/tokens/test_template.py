from __future__ import annotations

import json
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.tokens.template import ChatTemplate, TemplateMismatch, chat_template
from tests.steps.tune.models import MARKED_TEMPLATE, PLAIN_TEMPLATE, make_tokenizer

SYSTEMLESS_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}[{{ m['content'] }}]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)

TWO_TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "2"},
]


def template(source: str, tmp_path: Path) -> ChatTemplate:
    return chat_template(make_tokenizer(source), tmp_path)


def spans(source: str, tmp_path: Path) -> list[str]:
    rendered = template(source, tmp_path).render(TWO_TURNS)
    return [rendered.text[start:end] for start, end in rendered.spans]


def test_marked_templates_name_the_assistants_turns(tmp_path: Path) -> None:
    assert spans(MARKED_TEMPLATE, tmp_path) == ["1<|end|>", "2<|end|>"]


def test_plain_templates_are_understood_by_difference(tmp_path: Path) -> None:
    assert spans(PLAIN_TEMPLATE, tmp_path) == ["1<|end|>", "2<|end|>"]


def test_the_prompt_is_what_the_server_will_send(tmp_path: Path) -> None:
    for source in (MARKED_TEMPLATE, PLAIN_TEMPLATE):
        rendered = template(source, tmp_path).render(TWO_TURNS)
        prompt = make_tokenizer(source).apply_chat_template(
            TWO_TURNS[:-1], add_generation_prompt=True, tokenize=False
        )
        assert rendered.text[: rendered.spans[-1][0]] == prompt


def test_a_system_turn_that_the_template_drops_goes_before_the_first_question(
    tmp_path: Path,
) -> None:
    systemless = template(SYSTEMLESS_TEMPLATE, tmp_path)
    text = systemless.render(TWO_TURNS).text
    assert text == "[Be short.\n\nOne?] 1<|endoftext|>[Two?] 2<|endoftext|>"
    assert template(MARKED_TEMPLATE, tmp_path).source == MARKED_TEMPLATE


# What writes the date in the templates of Llama 3.2, SmolLM3 and Granite 3.3.
_LLAMA = (
    "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
    "{{- 'Today Date: ' + date_string + '\\n\\n' }}"
)
_SMOLLM = "{%- set today = strftime_now('%d %B %Y') -%}{{- 'Today Date: ' ~ today ~ '\\n' -}}"
_GRANITE = "{{- \"Today's Date: \" + strftime_now('%B %d, %Y') + '.\\n' }}"


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (_LLAMA, "Today Date: 26 Jul 2024\n\n"),
        (_SMOLLM, "Today Date: 26 July 2024\n"),
        (_GRANITE, "Today's Date: July 26, 2024.\n"),
    ],
)
@pytest.mark.parametrize("rest", [MARKED_TEMPLATE, PLAIN_TEMPLATE])
def test_a_template_that_writes_the_date_writes_one_date_every_day(
    tmp_path: Path, start: str, expected: str, rest: str
) -> None:
    dated = template(start + rest, tmp_path)
    rendered = dated.render(TWO_TURNS)
    assert rendered.text == expected + template(rest, tmp_path).render(TWO_TURNS).text
    assert [rendered.text[a:b] for a, b in rendered.spans] == ["1<|end|>", "2<|end|>"]
    # vLLM and other servers render the template of the adapter's image themselves.
    served = make_tokenizer(dated.source).apply_chat_template(TWO_TURNS, tokenize=False)
    assert served == rendered.text


def test_stop_tokens_are_the_end_of_turn_and_what_the_model_names(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 3]}))
    found = template(MARKED_TEMPLATE, tmp_path)
    assert make_tokenizer().convert_ids_to_tokens(found.stop_token_ids) == [
        "<|end|>",
        "<|endoftext|>",
        "<|assistant|>",
    ]


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_stop_tokens_that_cannot_be_read_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(PermanentError, match=r"generation_config\.json: not a JSON object"):
        template(MARKED_TEMPLATE, tmp_path)


def test_a_tokenizer_without_a_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        chat_template(make_tokenizer(None), tmp_path)
    assert str(caught.value) == (
        f"the tokenizer in {tmp_path} has no chat template; use an instruction model, or put a "
        "chat_template.jinja into the model directory"
    )


def test_the_plan_may_bring_the_template_of_a_base_model(tmp_path: Path) -> None:
    found = chat_template(make_tokenizer(None), tmp_path, MARKED_TEMPLATE)
    assert found.source == MARKED_TEMPLATE


def test_a_template_that_ends_turns_without_a_token_is_refused(tmp_path: Path) -> None:
    endless = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    with pytest.raises(PermanentError, match="ends an assistant turn without a special token"):
        template(endless, tmp_path)


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        ("{% for i in range(10 ** 9) %}{% endfor %}", "Range too big"),
        ("{{ 'x' * 10 ** 9 }}", "it makes a value of over 67108864 characters"),
        ("{{ 10 ** 10 ** 9 }}", "it computes a number of over 64 bits"),
    ],
)
def test_a_template_without_end_is_refused(tmp_path: Path, start: str, problem: str) -> None:
    with pytest.raises(PermanentError, match=f"fails for a question with an answer: .*{problem}"):
        template(start + MARKED_TEMPLATE, tmp_path)


def test_what_the_template_refuses_is_no_crash(tmp_path: Path) -> None:
    strict = (
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('users begin') }}{% endif %}"
        + MARKED_TEMPLATE
    )
    with pytest.raises(TemplateMismatch, match="the chat template rejects it: users begin"):
        template(strict, tmp_path).render(TWO_TURNS[2:])
