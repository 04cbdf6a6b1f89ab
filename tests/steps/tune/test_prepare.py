from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import Census
from argotune.steps.tune.pack import Packs
from argotune.steps.tune.prepare import prepare
from tests.steps.tune.models import (
    PLAIN_TEMPLATE,
    conversation,
    make_tokenizer,
    numbered_rows,
    tiny_plan,
    write_rows,
)

UNANSWERED = [{"role": "user", "content": "Hello?"}]


def with_bos(tokenizer: Any) -> Any:
    """The same vocabulary, with a name that a template may write: bos_token."""
    tokenizer.bos_token = "<|system|>"
    return tokenizer


def prepared(tmp_path: Path, tokenizer: Any = None, **training: Any) -> tuple[Packs, Census]:
    tokenizer = tokenizer or make_tokenizer()
    return prepare(
        tmp_path / "train.parquet",
        tmp_path / "prepared" / "train.arrow",
        chat_template(tokenizer, tmp_path),
        tokenizer,
        tiny_plan(**training).training,
    )


def test_a_later_try_takes_the_file_of_an_earlier_one(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.parquet", [*numbered_rows(1, 40), UNANSWERED])
    packs, census = prepared(tmp_path)
    made = (tmp_path / "prepared" / "train.arrow").stat()
    again, census_again = prepared(tmp_path)
    assert (tmp_path / "prepared" / "train.arrow").stat().st_ino == made.st_ino
    assert again.digest == packs.digest
    assert len(again) == len(packs) > 5
    assert census_again == census
    assert (census.rows, census.dropped.total()) == (40, 1)


def test_the_file_has_each_row_once_for_any_reader_of_arrow(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.parquet", numbered_rows(1, 40))
    packs, _ = prepared(tmp_path)
    with pyarrow.ipc.open_file(tmp_path / "prepared" / "train.arrow") as file:
        table = file.read_all()
    assert sorted(row for rows in table["rows"].to_pylist() for row in rows) == list(range(39))
    ids = [packs.micro_batch(index).input_ids[0].tolist() for index in range(len(packs))]
    assert table["input_ids"].to_pylist() == ids
    assert [*(tmp_path / "prepared").iterdir()] == [tmp_path / "prepared" / "train.arrow"]


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 60},
        {"micro_batch_tokens": 200},
        {"tokenizer": make_tokenizer(PLAIN_TEMPLATE)},
        {"tokenizer": with_bos(make_tokenizer())},
    ],
    ids=["max_length", "micro_batch_tokens", "template", "special tokens"],
)
def test_a_file_made_from_something_else_is_made_anew(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    write_rows(tmp_path / "train.parquet", numbered_rows(1, 20))
    prepared(tmp_path)
    made = (tmp_path / "prepared" / "train.arrow").stat()
    packs, census = prepared(tmp_path, **change)
    assert (tmp_path / "prepared" / "train.arrow").stat().st_ino != made.st_ino
    assert census.rows == len([*packs.documents()]) == 19


def test_other_rows_are_packed_anew(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.parquet", numbered_rows(1, 20))
    prepared(tmp_path)
    write_rows(tmp_path / "train.parquet", numbered_rows(1, 10))
    packs, census = prepared(tmp_path)
    assert census.rows == len([*packs.documents()]) == 9


def test_a_missing_file_of_rows_is_named_whatever_was_prepared(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.parquet", numbered_rows(1, 20))
    prepared(tmp_path)
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(PermanentError, match="is missing; the dataset step writes it"):
        prepared(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_a_damaged_file_is_made_anew(tmp_path: Path, keep: int) -> None:
    write_rows(tmp_path / "train.parquet", numbered_rows(1, 40))
    packs, _ = prepared(tmp_path)
    file = tmp_path / "prepared" / "train.arrow"
    # Another file in its place: the one that is mapped must stay whole.
    (tmp_path / "damaged").write_bytes(file.read_bytes()[:keep])
    (tmp_path / "damaged").replace(file)
    assert prepared(tmp_path)[0].digest == packs.digest


def test_no_usable_row_makes_an_empty_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.parquet", [UNANSWERED])
    for _ in range(2):
        packs, census = prepared(tmp_path)
        assert (len(packs), census.rows) == (0, 1)


def test_a_row_that_no_micro_batch_holds_leaves_no_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.parquet", [conversation("One?", "1" * 90)])
    with pytest.raises(PermanentError, match="but a micro-batch has 50"):
        prepared(tmp_path, micro_batch_tokens=50)
    assert not (tmp_path / "prepared").exists()
