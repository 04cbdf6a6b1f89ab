"""Rows that are held out stay held out while a workspace's data grow."""

from __future__ import annotations

import csv
import io
import json
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import write_plan
from argotune.steps.dataset.params import Params, Result
from argotune.steps.dataset.run import run
from tests.fakes.plans import small_plan

Row = tuple[str, str]
Sides = tuple[set[str], set[str]]
"""Questions that are trained on, and those that are held out."""


class Workspace:
    """Runs of one workspace, one after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._runs = 0

    def run(
        self, rows: Sequence[Row], *, share: float = 0.1, seed: int = 0, name: str = "a.jsonl"
    ) -> Sides:
        self._runs += 1
        work = self._directory / f"run{self._runs}"
        work.mkdir()
        file = work / name
        file.write_bytes(FORMATS[file.suffix](rows))
        plan = small_plan()
        data = msgspec.structs.replace(plan.data, validation_share=share, split_seed=seed)
        write_plan(work / "plan.yaml", msgspec.structs.replace(plan, data=data))
        self.last = run(
            Params(
                urls=(file.as_uri(),),
                plan_file=work / "plan.yaml",
                work_dir=work,
                allow_files=True,
                history_file=self._directory / "history" / "name.json",
            ),
            progress=Progress(),
        )
        return _questions(work / "dataset/train.parquet"), _questions(
            work / "dataset/validation.parquet"
        )

    last: Result


def _questions(path: Path) -> set[str]:
    return {row["messages"][0]["content"] for row in pq.read_table(path).to_pylist()}


def _jsonl(rows: Sequence[Row]) -> bytes:
    return "\n".join(json.dumps({"prompt": q, "completion": a}) for q, a in rows).encode()


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([("prompt", "completion"), *rows])
    return text.getvalue().encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(
        pa.table({"prompt": [q for q, _ in rows], "completion": [a for _, a in rows]}), buffer
    )
    return buffer.getvalue()


FORMATS: dict[str, Callable[[Sequence[Row]], bytes]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def rows(count: int) -> list[Row]:
    return [(f"Question {n}?", f"Answer {n}.") for n in range(count)]


@pytest.mark.parametrize("number", range(4))
def test_no_question_moves_from_test_to_train_when_data_grow(
    workspace: Workspace, number: int
) -> None:
    """Data sets that grow in random order, format, spelling and answers, from one row on."""
    chooser = random.Random(number)
    share, seed = chooser.choice([0.01, 0.1, 0.5]), chooser.randrange(100)
    growing, held_out_before = list[Row](), set[str]()
    for size in (1, 2, 3, 8, 40):
        growing += [(f"Question {n}?", f"Answer {n}.") for n in range(len(growing), size)]
        # The same question with another answer, in other letters.
        shown = [
            (chooser.choice([question, question.upper()]), answer + chooser.choice(["", " More."]))
            for question, answer in growing + chooser.choices(growing, k=size // 3)
        ]
        chooser.shuffle(shown)
        name = f"{chooser.random()}{chooser.choice(sorted(FORMATS))}"
        train, held_out = (
            {question.lower() for question in side}
            for side in workspace.run(shown, share=share, seed=seed, name=name)
        )
        assert train | held_out == {question.lower() for question, _ in growing}
        assert not train & held_out
        assert not train & held_out_before
        assert held_out or size == 1
        held_out_before |= held_out


def test_fallback_of_a_small_dataset_moves_without_a_record(tmp_path: Path) -> None:
    """Why there is a record: more rows have another lowest hash."""
    sides = []
    for count in (3, 4, 8, 12):
        directory = tmp_path / str(count)
        directory.mkdir()
        sides.append(Workspace(directory).run(rows(count), share=0.001)[1])
    assert all(len(side) == 1 for side in sides)
    assert len(set.union(*sides)) > 1


def test_another_share_or_seed_is_told_with_its_effect(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.run(rows(40), share=0.2, seed=1)
    assert "split-changed" not in caplog.text
    with caplog.at_level(logging.WARNING):
        workspace.run(rows(40), share=0.1, seed=1)
    assert 'split-changed validation_share="0.2, now 0.1" split_seed="1, now 1"' in caplog.text
    caplog.clear()
    workspace.run(rows(40), share=0.1, seed=1)
    assert "split-changed" not in caplog.text


def test_share_of_zero_trains_on_what_was_held_out(workspace: Workspace) -> None:
    assert len(workspace.run(rows(3), share=0.001)[1]) == 1
    assert workspace.run(rows(3), share=0.0)[1] == set()


def test_rows_that_ask_one_question_are_trained_on_with_a_warning(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    train, held_out = workspace.run([("Same?", f"Answer {n}.") for n in range(5)], share=0.5)
    assert (train, held_out) == ({"Same?"}, set())
    assert "nothing-is-held-out" in caplog.text


def test_damaged_record_of_held_out_rows_is_made_anew(workspace: Workspace, tmp_path: Path) -> None:
    held_out = workspace.run(rows(3), share=0.001)[1]
    record = tmp_path / "history/name.held-out.json"
    record.write_text("{")
    assert workspace.run(rows(3), share=0.001)[1] == held_out
    assert json.loads(record.read_text())["share"] == 0.001
