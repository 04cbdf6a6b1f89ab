from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import (
    Census,
    TokenRows,
    check_census,
    read_rows,
    tokenise,
)
from tests.steps.tune.models import (
    MARKED_TEMPLATE,
    PLAIN_TEMPLATE,
    conversation,
    make_tokenizer,
    write_rows,
)

UNMARKED_END = MARKED_TEMPLATE.replace("<|end|>{% endgeneration %}", "{% endgeneration %}<|end|>")


def read(
    tmp_path: Path, rows: list[Any], template: str = MARKED_TEMPLATE, max_length: int = 100
) -> tuple[TokenRows, Census]:
    path = tmp_path / "train.parquet"
    write_rows(path, rows)
    tokenizer = make_tokenizer(template)
    return read_rows(path, chat_template(tokenizer, tmp_path), tokenizer, max_length)


def learned(rows: TokenRows, row: int = 0) -> list[str]:
    """The labelled tokens of a row as text, one group per gap."""
    tokenizer = make_tokenizer()
    span = slice(*rows.starts[row : row + 2])
    groups: list[list[int]] = [[]]
    for token, labelled in zip(rows.ids[span], rows.labelled[span], strict=True):
        if labelled:
            groups[-1].append(int(token))
        elif groups[-1]:
            groups.append([])
    return [tokenizer.decode(group) for group in groups if group]


@pytest.mark.parametrize("template", [MARKED_TEMPLATE, UNMARKED_END])
def test_only_the_assistants_tokens_and_their_end_are_learned(
    tmp_path: Path, template: str
) -> None:
    turns = [*conversation("One?", "It is 1."), *conversation("Two?", "It is 2.")]
    rows, _ = read(tmp_path, [turns], template)
    assert learned(rows) == ["It is 1.<|end|>", "It is 2.<|end|>"]


@pytest.mark.parametrize("template", [MARKED_TEMPLATE, UNMARKED_END, PLAIN_TEMPLATE])
def test_an_answer_that_is_not_learned_is_context_alone(tmp_path: Path, template: str) -> None:
    one, two = conversation("One?", "It is 1."), conversation("Two?", "It is 2.")
    for first, second in ((False, True), (True, False)):
        turns = [
            one[0] | {"learned": False},
            one[1] | {"learned": first},
            two[0] | {"learned": False},
            two[1] | {"learned": second},
        ]
        rows, _ = read(tmp_path, [turns, [*one, *two]], template)
        assert learned(rows) == [["It is 1.<|end|>"], ["It is 2.<|end|>"]][second]
        whole = [rows.ids[slice(*rows.starts[row : row + 2])].tolist() for row in (0, 1)]
        assert whole[0] == whole[1]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_learned_is_what_lies_in_the_answer_whole(tmp_path: Path, seed: int) -> None:
    """Tokens of half a character, of none, and over the answer's end, by the tokenizer's places."""
    random = Random(seed)
    texts = [
        "".join(random.choices("nu mber sta\u00e9\u4e2d\U0001f600\u0301\n", k=9)) for _ in range(8)
    ]
    turns = [
        turn for pair in zip(texts[::2], texts[1::2], strict=True) for turn in conversation(*pair)
    ]
    tokenizer = make_tokenizer()
    template = chat_template(tokenizer, tmp_path)
    rendered = template.render(turns)
    offsets = tokenizer(rendered.text, return_offsets_mapping=True)["offset_mapping"]
    inside = [any(a <= x and y <= b for a, b in rendered.spans) for x, y in offsets]
    rows, _ = read(tmp_path, [turns], max_length=1000)
    assert rows.labelled.tolist() == inside
    assert 8 < sum(inside) < len(inside) - 8


def test_templates_without_marks_teach_the_same(tmp_path: Path) -> None:
    turns = [*conversation("One?", "It is 1."), *conversation("Two?", "It is 2.")]
    rows, _ = read(tmp_path, [turns], PLAIN_TEMPLATE)
    assert learned(rows) == ["It is 1.<|end|>", "It is 2.<|end|>"]


def test_the_end_is_learned_where_it_is_the_padding_too(tmp_path: Path) -> None:
    template = MARKED_TEMPLATE.replace("<|end|>", "<|endoftext|>")
    assert make_tokenizer().pad_token == "<|endoftext|>"
    rows, _ = read(tmp_path, [conversation("One?", "1")], template)
    assert learned(rows) == ["1<|endoftext|>"]


def test_long_rows_are_cut_and_counted(tmp_path: Path) -> None:
    rows, census = read(tmp_path, [conversation("One?", "1" * 50)] * 3, max_length=20)
    assert rows.lengths.tolist() == [20, 20, 20]
    assert (census.rows, census.truncated) == (3, 3)
    whole, _ = read(tmp_path, [conversation("One?", "1" * 50)])
    assert census.cut_tokens == 3 * (whole.longest - 20)


def test_rows_whose_answer_is_cut_off_whole_are_dropped(tmp_path: Path) -> None:
    rows, census = read(
        tmp_path, [conversation("?" * 50, "1"), conversation("?", "1")], max_length=20
    )
    assert len(rows) == 1
    assert census.dropped == {"no assistant token within max_length": 1}


def test_rows_without_an_answer_are_dropped(tmp_path: Path) -> None:
    rows, census = read(tmp_path, [[{"role": "user", "content": "Hello?"}]])
    assert len(rows) == 0
    assert census.dropped == {"no end-of-turn token would be learned": 1}


def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    rows, census = read(tmp_path, [conversation(str(n), str(n * n)) for n in range(1100)])
    assert census.rows == len(rows) == 1100
    assert learned(rows, 1099) == [f"{1099 * 1099}<|end|>"]


def test_too_many_cut_or_dropped_rows_are_refused() -> None:
    census = Census(rows=10, truncated=3, cut_tokens=700)
    census.dropped["the chat template rejects it: users begin"] = 2
    places = ["a.jsonl row 4", "b.jsonl row 7"]
    census.places["the chat template rejects it: users begin"] = places
    with pytest.raises(PermanentError) as caught:
        check_census(census, max_truncated_share=0.2, max_rejected_share=0.1)
    assert str(caught.value) == (
        "3 of 10 rows are longer than max_length and lose 700 tokens, more than the share of 0.2 "
        "that max_truncated_share accepts; raise one of the two, or shorten the rows; 2 of 10 "
        "rows are unusable for training, more than the share of 0.1 that max_rejected_share "
        "accepts (2: the chat template rejects it: users begin (a.jsonl row 4, b.jsonl row 7))"
    )
    check_census(census, max_truncated_share=0.3, max_rejected_share=0.2)


def test_no_usable_row_at_all_is_refused() -> None:
    with pytest.raises(PermanentError, match="no row is usable for training"):
        check_census(Census(rows=0), max_truncated_share=1.0, max_rejected_share=1.0)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    template = chat_template(tokenizer, tmp_path)
    path = tmp_path / "train.parquet"
    with pytest.raises(PermanentError, match=r"train\.parquet is missing; the dataset step"):
        read_rows(path, template, tokenizer, 10)
    path.write_bytes(b"PAR1 but no parquet")
    with pytest.raises(PermanentError, match=r"train\.parquet is not the dataset step's file"):
        read_rows(path, template, tokenizer, 10)


def test_every_row_is_yielded_in_order_with_its_tokens_or_its_problem(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(
        "{{ raise_exception('no') if messages | length == 3 }}" + MARKED_TEMPLATE
    )
    template = chat_template(tokenizer, tmp_path)
    one, two = conversation("One?", "It is 1."), conversation("Two?", "It is 2.")
    turns = [[one, [*one, two[0]]], [[*one, *two], conversation("x" * 99, "1")]]
    batches = [[Conversation(messages=messages) for messages in batch] for batch in turns]
    rows = list(tokenise(batches, template, tokenizer, max_length=30))
    assert [row.number for row in rows] == [0, 1, 2, 3]
    assert [row.problem for row in rows] == [
        "",
        "the chat template rejects it: no",
        "",
        "no assistant token within max_length",
    ]
    whole = len(tokenizer(rows[2].text)["input_ids"])
    assert (rows[2].tokens, rows[2].cut_tokens, len(rows[2].ids)) == (whole, whole - 30, 30)
    assert rows[2].learned_tokens == rows[2].labelled.sum() > 0
    assert [rows[2].text[start:end] for start, end in rows[2].spans] == [
        "It is 1.<|end|>",
        "It is 2.<|end|>",
    ]
    assert (rows[1].text, rows[1].tokens, rows[1].learned_tokens) == ("", 0, 0)
