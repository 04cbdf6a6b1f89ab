"""Templates of models that think, which render the last answer otherwise than earlier ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.tokens.spans import TemplateMismatch
from argotune.steps.tokens.template import chat_template
from tests.steps.tokens.test_tokenise import learned, read
from tests.steps.tune.models import conversation, make_tokenizer

# The rules of Qwen3's template: reasoning, maybe none, in answers after the last question, of which
# the last one has a block in any case; no reasoning in earlier answers.
THINKING_TEMPLATE = (
    "{% set at = namespace(question=0) %}"
    "{% for m in messages if m['role'] == 'user' %}"
    "{% set at.question = messages.index(m) %}{% endfor %}"
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m['role'] == 'assistant' %}"
    "{% set thought = m.reasoning_content or m['content'].rpartition('</think>')[0] %}"
    "{% set thought = thought.replace('<think>', '') %}"
    "{% if loop.index0 > at.question and (loop.last or thought) %}"
    "<think>{{ thought }}</think>{% endif %}"
    "{{ m['content'].rpartition('</think>')[2] }}"
    "{% else %}{{ m['content'] }}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ALWAYS_THINKING = THINKING_TEMPLATE.replace(
    "<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}"
)

ONE, TWO = conversation("One?", "It is 1."), conversation("Two?", "It is 2.")


def thinking(turns: list[dict[str, str]], reasoning: str) -> list[dict[str, Any]]:
    return [turns[0], {**turns[1], "reasoning_content": reasoning}]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (ONE, ["<think></think>It is 1.<|end|>"]),
        (thinking(ONE, "Hm."), ["<think>Hm.</think>It is 1.<|end|>"]),
        (conversation("One?", "<think>Hm.</think>1"), ["<think>Hm.</think>1<|end|>"]),
        ([*ONE, *TWO], ["It is 1.<|end|>", "<think></think>It is 2.<|end|>"]),
        ([*ONE, *thinking(TWO, "Hm.")], ["It is 1.<|end|>", "<think>Hm.</think>It is 2.<|end|>"]),
        # An earlier answer that begins as the block does.
        (
            [*conversation("One?", "<th> is 1."), *TWO],
            ["<th> is 1.<|end|>", "<think></think>It is 2.<|end|>"],
        ),
    ],
)
def test_each_answer_is_learned_as_it_is_rendered(
    tmp_path: Path, row: list[dict[str, Any]], expected: list[str]
) -> None:
    rows, census = read(tmp_path, [row], THINKING_TEMPLATE, max_length=1000)
    assert learned(rows) == expected
    assert census.without_reasoning == 0


@pytest.mark.parametrize(
    "first", [thinking(ONE, "Let me count."), conversation("One?", "<think>Let me count.</think>1")]
)
def test_reasoning_that_is_left_out_is_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: list[dict[str, Any]]
) -> None:
    rows, census = read(tmp_path, [[*first, *TWO], ONE], THINKING_TEMPLATE, max_length=1000)
    assert len(learned(rows)) == 2
    assert "count" not in "".join(learned(rows))
    assert census.without_reasoning == 1
    assert "renders the reasoning of the last answer alone" in caplog.text


def test_a_prompt_that_earlier_answers_do_not_have_is_refused(tmp_path: Path) -> None:
    template = chat_template(make_tokenizer(ALWAYS_THINKING), tmp_path)
    assert template.render(ONE).spans
    with pytest.raises(TemplateMismatch, match="renders the turns before message 1 differently"):
        template.render([*ONE, *TWO])


def test_an_answer_whose_end_cannot_be_told_is_refused(tmp_path: Path) -> None:
    unended = THINKING_TEMPLATE.replace(
        "<|end|>{% endfor %}",
        "{% if loop.last or m['role'] == 'user' %}<|end|>{% endif %}{% endfor %}",
    )
    template = chat_template(make_tokenizer(unended), tmp_path)
    with pytest.raises(TemplateMismatch, match=r"answer of message 1 without .* cannot be told"):
        template.render([*ONE, *TWO])


def test_a_template_without_thoughts_leaves_none_out(tmp_path: Path) -> None:
    template = chat_template(make_tokenizer(), tmp_path)
    row = Conversation(messages=[*conversation("One?", "<think>Hm.</think>1"), *TWO])
    assert not template.leaves_out_reasoning(row, template.render(row.messages).text)
