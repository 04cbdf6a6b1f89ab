"""The demo's dataset."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from argotune.workflows.demo.__main__ import _ASKED
from argotune.workflows.demo.dataset import write_dataset


def test_rows_are_conversations_of_real_text(tmp_path: Path) -> None:
    path = tmp_path / "demo" / "rows.parquet"
    rows = write_dataset(path)
    assert rows >= 300
    table = pq.read_table(path)
    assert table.column_names == ["messages"]
    conversations = table["messages"].to_pylist()
    assert len(conversations) == rows
    for conversation in conversations:
        assert [message["role"] for message in conversation] == ["user", "assistant"]
        assert all(message["content"].strip() for message in conversation)


def test_the_questions_that_the_demo_asks_are_answered_in_the_data(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_dataset(path)
    text = " ".join(
        conversation[0]["content"] for conversation in pq.read_table(path)["messages"].to_pylist()
    )
    asked_about = ["json.dumps", "math.sqrt", "shutil.rmtree"]
    assert all(name in question for name, question in zip(asked_about, _ASKED, strict=True))
    assert [name for name in asked_about if name not in text] == []


def test_the_same_machine_makes_the_same_file(tmp_path: Path) -> None:
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    write_dataset(one)
    write_dataset(two)
    assert one.read_bytes() == two.read_bytes()
