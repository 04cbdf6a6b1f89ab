"""Token ids and labels of each kind of row beside those that TRL made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from argotune.steps.dataset.make import make_dataset
from argotune.steps.dataset.target import DatasetFile
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import TokenRow, conversations_of, tokenise
from tests.fakes.plans import small_plan
from tests.steps.tokens.kinds import KINDS, tokenizer_for

RECORD = json.loads(Path(__file__).with_name("trl.json").read_text())
"""Written by tests.bench.tune.trl_rows, which has TRL."""


def prepare(row: dict[str, Any], tokenizer: Any, directory: Path) -> TokenRow:
    """The row as the dataset step and then tune take it."""
    path = directory / "rows.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n")
    file = DatasetFile(url="u", name=path.name, path=path, size=path.stat().st_size, sha256="0")
    data = msgspec.structs.replace(small_plan().data, validation_share=0.0)
    made = make_dataset(
        [file], data, directory, scratch_dir=directory, judge=None, on_bytes=lambda _: None
    )
    assert (made.train_rows, made.rejected) == (1, {})
    batches = conversations_of(directory / "train.parquet")
    (found,) = tokenise(batches, chat_template(tokenizer, directory), tokenizer, 10_000)
    assert found.problem == ""
    return found


def test_the_record_has_every_kind() -> None:
    assert list(RECORD["rows"]) == list(KINDS)
    assert len(KINDS) >= 12


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_labels_are_trls(tmp_path: Path, kind: str) -> None:
    template, row = KINDS[kind]
    ours, theirs = prepare(row, tokenizer_for(template), tmp_path), RECORD["rows"][kind]
    assert ours.ids.tolist() == theirs["input_ids"]
    labels = np.where(ours.labelled, ours.ids, -100)
    assert labels.tolist() == theirs["labels"]
    assert 0 < ours.learned_tokens < ours.tokens


def test_the_record_is_what_trl_makes(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="TRL is in the dependency group bench")
    from tests.bench.tune import trl_rows

    for kind in ("two results", "reasoning"):
        template, row = KINDS[kind]
        assert trl_rows.prepare(row, tokenizer_for(template), tmp_path) == RECORD["rows"][kind]


def test_a_template_without_marks_teaches_the_calls_too(tmp_path: Path) -> None:
    """Only the line break after the assistant's header, which the prompt has, is none of it."""
    tokenizer = tokenizer_for("qwen")
    kind = "Qwen2.5's call, result and answer"
    marked = prepare(KINDS[kind][1], tokenizer, tmp_path)
    for tag in ("generation", "endgeneration"):
        tokenizer.chat_template = tokenizer.chat_template.replace(f"{{%- {tag} %}}", "")
    plain = prepare(KINDS[kind][1], tokenizer, tmp_path)
    assert plain.text == marked.text
    written = [marked.text[start:end].strip("\n") for start, end in marked.spans]
    assert [plain.text[start:end] for start, end in plain.spans] == written
    assert written[0].startswith("<tool_call>\n")
