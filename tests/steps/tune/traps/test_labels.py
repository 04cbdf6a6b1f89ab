"""Which tokens are learned: traps 1, 2, 3 and 16 of other trainers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import DataCollatorForLanguageModeling

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.steps_of_run import best_fit
from argotune.steps.tokens.template import ChatTemplate, chat_template
from argotune.steps.tokens.tokenise import Census, TokenRows, check_census, read_rows
from argotune.steps.tune.pack import Packs, pack
from tests.steps.tune.models import MARKED_TEMPLATE, conversation, make_tokenizer, write_rows
from tests.steps.tune.traps.published import PUBLISHED, tokenizer_of

SYSTEM = {"role": "system", "content": "Be short."}
TALK = [*conversation("One?", "It is 1."), *conversation("Two,\n or ü?", "  It is: ü\n\n2!")]

CONVERSATIONS = [TALK[:2], TALK, [SYSTEM, *TALK[:2]], [SYSTEM, *TALK]]


def read(
    tmp_path: Path, rows: list[Any], tokenizer: Any, template: ChatTemplate, max_length: int = 500
) -> tuple[TokenRows, Census]:
    path = tmp_path / "rows.parquet"
    write_rows(path, rows)
    return read_rows(path, template, tokenizer, max_length)


def learned(rows: TokenRows, row: int, tokenizer: Any) -> list[str]:
    """The labelled tokens of a row as text, one text per gap."""
    span = slice(*rows.starts[row : row + 2])
    ids, labelled = rows.ids[span], rows.labelled[span]
    groups = np.split(np.arange(len(ids)), np.flatnonzero(np.diff(labelled)) + 1)
    return [tokenizer.decode(ids[group]) for group in groups if labelled[group[0]]]


def test_trap_01_a_batch_keeps_its_masks_whatever_its_size(tmp_path: Path) -> None:
    """A collator for language models rebuilds the labels from the tokens, or dies at batch 2."""
    tokenizer = make_tokenizer()
    template = chat_template(tokenizer, tmp_path)
    talks = [conversation("One?", "1"), conversation("And a longer one?", "It is 2.")]
    rows, _ = read(tmp_path, talks, tokenizer, template)

    collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    parts = [slice(*rows.starts[row : row + 2]) for row in range(2)]
    labels = [np.where(rows.labelled[part], rows.ids[part], -100) for part in parts]
    features = [
        {"input_ids": rows.ids[part].tolist(), "labels": label.tolist()}
        for part, label in zip(parts, labels, strict=True)
    ]
    with pytest.raises(ValueError, match="labels"):
        collate(features)
    rebuilt = collate(features[:1])["labels"][0]
    assert (rebuilt.numpy() != labels[0]).any(), "it trains on the question"

    batch = Packs(pack(rows, best_fit(rows.lengths.tolist(), 200))).micro_batch(0)
    assert len(batch.document_lengths) == 2
    taught = np.full(batch.tokens, -100)
    taught[batch.label_positions.numpy() + 1] = batch.targets.numpy()
    assert taught.tolist() == np.concatenate(labels).tolist()


@pytest.mark.parametrize("name", PUBLISHED)
def test_trap_02_the_end_of_turn_is_learned_where_it_is_the_padding_too(
    tmp_path: Path, name: str
) -> None:
    """Masks that go by the padding's id leave out the one token that ends an answer."""
    end = PUBLISHED[name].end_of_turn
    published = dataclasses.replace(PUBLISHED[name], eos=end, pad=end)
    tokenizer = tokenizer_of(published)
    template = chat_template(tokenizer, tmp_path)
    rows, census = read(tmp_path, [TALK], tokenizer, template)
    stop = tokenizer.pad_token_id
    assert stop == tokenizer.eos_token_id == template.stop_token_ids[0]
    collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    assert stop not in collate([{"input_ids": rows.ids.tolist()}])["labels"], "it masks by id"
    assert int((rows.labelled & (rows.ids == stop)).sum()) == 2, "one for each answer"
    assert not census.dropped


def test_trap_02_rows_that_never_stop_are_left_out(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    template = dataclasses.replace(
        chat_template(tokenizer, tmp_path),
        source=MARKED_TEMPLATE.replace("<|end|>{% endgeneration %}", "{% endgeneration %}"),
        marked=None,
    )
    rows, census = read(tmp_path, [TALK[:2]], tokenizer, template)
    assert len(rows) == 0
    assert census.dropped == {"no end-of-turn token would be learned": 1}


@pytest.mark.parametrize("name", PUBLISHED)
def test_trap_03_only_what_the_assistant_wrote_is_learned(tmp_path: Path, name: str) -> None:
    """By templates with markers, and by the difference that each turn makes: both the same."""
    tokenizer = tokenizer_of(PUBLISHED[name])
    template = chat_template(tokenizer, tmp_path)
    assert template.marked is not None, "a preset's template is known with markers"
    assert "generation" not in PUBLISHED[name].template.replace("add_generation_prompt", "")
    marked, census = read(tmp_path, CONVERSATIONS, tokenizer, template)
    by_turns = dataclasses.replace(template, marked=None)
    different, _ = read(tmp_path, CONVERSATIONS, tokenizer, by_turns)
    assert not census.dropped
    assert len(marked) == len(CONVERSATIONS)
    for found in (marked, different):
        assert found.ids.tolist() == marked.ids.tolist()
        assert found.labelled.tolist() == marked.labelled.tolist()
    for row, talk in enumerate(CONVERSATIONS):
        answers = [turn["content"] for turn in talk if turn["role"] == "assistant"]
        texts = learned(marked, row, tokenizer)
        end = template.end_of_turn
        assert [text.strip() for text in texts] == [f"{text.strip()}{end}" for text in answers]
        whole = tokenizer.decode(marked.ids[slice(*marked.starts[row : row + 2])])
        assert ("Be short." in whole) == (talk[0] is SYSTEM), "no system turn is lost"


@pytest.mark.parametrize("name", PUBLISHED)
def test_trap_03_an_answer_begins_where_the_server_lets_it_begin(tmp_path: Path, name: str) -> None:
    tokenizer = tokenizer_of(PUBLISHED[name])
    template = chat_template(tokenizer, tmp_path)
    tokenizer.chat_template = template.source
    for talk in CONVERSATIONS:
        rendered = template.render(talk)
        prompt = tokenizer.apply_chat_template(
            talk[:-1], tokenize=False, add_generation_prompt=True
        )
        start, _ = rendered.spans[-1]
        assert rendered.text[:start] == prompt


def test_trap_03_another_template_than_the_presets_is_not_taken_for_one(tmp_path: Path) -> None:
    published = PUBLISHED["qwen2.5-coder-7b-instruct"]
    other = dataclasses.replace(published, template=published.template.replace("Qwen", "Owen"))
    template = chat_template(tokenizer_of(other), tmp_path)
    assert template.marked is None
    text, spans = (template.render(TALK).text, template.render(TALK).spans)
    assert [text[start:end] for start, end in spans] == [
        "It is 1.<|im_end|>",
        "  It is: ü\n\n2!<|im_end|>",
    ]


def test_trap_16_rows_are_never_cut_in_silence(tmp_path: Path) -> None:
    """A tokenizer cuts at max_length without a word, and with the answer goes its end."""
    tokenizer = make_tokenizer()
    template = chat_template(tokenizer, tmp_path)
    talks = [conversation("One?", "1" * 90), conversation("Two?", "2")]
    cut = tokenizer(template.render(talks[0]).text, truncation=True, max_length=40)["input_ids"]
    assert template.stop_token_ids[0] not in cut[-30:]

    _, census = read(tmp_path, talks, tokenizer, template, max_length=40)
    assert (census.rows, census.truncated) == (2, 1)
    assert census.cut_tokens > 50
    with pytest.raises(PermanentError, match=r"1 of 2 rows are longer than max_length and lose"):
        check_census(census, max_truncated_share=0.4, max_rejected_share=0.0)
    check_census(census, max_truncated_share=0.5, max_rejected_share=0.0)
