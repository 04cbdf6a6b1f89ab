"""Rows, interruptions and files: traps 12, 13, 14, 15 and 17 of other trainers."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
import torch

from argotune.steps.common.errors import Interrupted, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import write_plan
from argotune.steps.dataset.params import Params
from argotune.steps.dataset.run import run as make_dataset
from argotune.steps.tune.checkpoint import Checkpoints, Position
from argotune.steps.tune.schedule import Schedule
from tests.fakes.http import FileServer, file_server
from tests.fakes.plans import small_plan
from tests.steps.common.test_exhausted import small_files
from tests.steps.dataset.test_run import jsonl, parquet, patient
from tests.steps.tune.models import conversation, read_records, tiny_plan, write_dataset
from tests.steps.tune.traps.running import StopAt, checkpoints, tune


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as files:
        yield files


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"messages": conversation(f"Question {n}?", f"Answer {n}.")} for n in range(count)]


def dataset(work_dir: Path, *urls: str) -> dict[str, list[str]]:
    """What the dataset step makes of the files: the questions of each split."""
    work_dir.mkdir()
    plan = small_plan()
    data = msgspec.structs.replace(plan.data, validation_share=0.2)
    write_plan(work_dir / "plan.yaml", msgspec.structs.replace(plan, data=data))
    params = Params(
        urls=urls, plan_file=work_dir / "plan.yaml", work_dir=work_dir, allow_loopback=True
    )
    make_dataset(params, progress=Progress(), downloader=patient)
    found = {}
    for split in ("train", "validation"):
        table = pq.read_table(work_dir / "dataset" / f"{split}.parquet")
        found[split] = [row["messages"][0]["content"] for row in table.to_pylist()]
    return found


def naive_split(rows: Sequence[dict[str, Any]], seed: int) -> set[str]:
    """Shuffled without a seed of its own, then the first fifth: Kaito's and many scripts' way."""
    shuffled = random.Random(seed).sample(rows, len(rows))
    return {row["messages"][0]["content"] for row in shuffled[: len(rows) // 5]}


def test_trap_12_the_split_goes_by_content(tmp_path: Path, server: FileServer) -> None:
    """Shuffled anew each time, rows that were held out are trained on, and copies are in both."""
    rows = rows_of(200)
    assert naive_split(rows, seed=1) != naive_split(rows, seed=2)
    copied = rows + rows[:100]
    shuffled = random.Random(3).sample(copied, len(copied))
    first = dataset(tmp_path / "first", server.add("/a.jsonl", jsonl(rows)))
    second = dataset(tmp_path / "second", server.add("/b.jsonl", jsonl(shuffled)))
    for split in ("train", "validation"):
        assert sorted(first[split]) == sorted(second[split])
    assert len(first["train"]) + len(first["validation"]) == 200
    assert not set(first["train"]) & set(first["validation"])
    assert 20 <= len(first["validation"]) <= 60


def test_trap_17_every_file_is_read_and_by_its_content(tmp_path: Path, server: FileServer) -> None:
    """A format guessed from "json" in the name, and the first file only."""
    rows = rows_of(30)
    with pytest.raises(UnicodeDecodeError):
        json.loads(parquet(rows[:10]))
    found = dataset(
        tmp_path / "work",
        server.add("/json-export", parquet(rows[:10])),
        server.add("/parquet-of-json", jsonl(rows[10:20])),
        server.add("/third.jsonl", jsonl(rows[20:])),
    )
    questions = found["train"] + found["validation"]
    assert sorted(questions) == sorted(row["messages"][0]["content"] for row in rows)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """The directory of a run that was stopped after step 5; tests copy it."""
    work_dir = tmp_path_factory.mktemp("interrupted")
    write_dataset(work_dir)
    with pytest.raises(Interrupted):
        tune(work_dir, model_dir, tiny_plan(epochs=3.0), progress=StopAt(5))
    return work_dir


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"micro_batch_tokens": 256}, r"training\.micro_batch_tokens was 128, is 256"),
        ({"accumulation_steps": 2}, r"training\.accumulation_steps was 1, is 2"),
        ({"seed": 7}, r"training\.seed was 0, is 7"),
        ({"max_length": 121}, r"training\.max_length was 120, is 121"),
    ],
)
def test_trap_13_a_run_with_another_batch_or_packing_is_not_resumed(
    tmp_path: Path, model_dir: Path, interrupted: Path, change: dict[str, int], message: str
) -> None:
    """A step's number alone means other rows once the batch or the packing has changed."""
    work_dir = shutil.copytree(interrupted, tmp_path / "work")
    with pytest.raises(PermanentError, match=message):
        tune(work_dir, model_dir, tiny_plan(epochs=3.0, **change))
    assert checkpoints(work_dir) == ["step-00000005"]


def test_trap_13_a_refused_run_goes_on_at_the_same_row_with_its_own_settings(
    tmp_path: Path, model_dir: Path, interrupted: Path
) -> None:
    work_dir = shutil.copytree(interrupted, tmp_path / "work")
    with pytest.raises(PermanentError):
        tune(work_dir, model_dir, tiny_plan(epochs=3.0, max_length=121))
    result = tune(work_dir, model_dir, tiny_plan(epochs=3.0))
    assert result.resumed_from_step == 5
    steps = [record["step"] for record in read_records(work_dir) if "loss" in record]
    assert steps == list(range(1, result.steps + 1))


def test_trap_13_the_next_row_follows_from_the_step_alone() -> None:
    """No counter of epochs or batches is kept beside it that could come to disagree."""
    training = tiny_plan(accumulation_steps=3, epochs=4.0).training
    schedule = Schedule(training, packs=7, tokens=700)
    straight = [index for step in range(schedule.steps) for index in schedule.indices(step)]
    assert len(straight) == 4 * 7
    for epoch in range(4):
        assert sorted(straight[7 * epoch : 7 * epoch + 7]) == list(range(7))
    resumed = Schedule(training, packs=7, tokens=700)
    assert [i for step in range(5, resumed.steps) for i in resumed.indices(step)] == straight[13:]


def test_trap_14_a_stopped_run_is_not_taken_for_a_finished_one(
    tmp_path: Path, model_dir: Path
) -> None:
    """A trainer that returns normally on SIGTERM has its half adapter published."""
    write_dataset(tmp_path)
    plan = tiny_plan(epochs=1.0)
    with pytest.raises(Interrupted, match="stopped by SIGTERM after step 3 of") as caught:
        tune(tmp_path, model_dir, plan, progress=StopAt(3))
    assert caught.value.exit_code == 75
    assert checkpoints(tmp_path) == ["step-00000003"], "saved within the step"
    assert not (tmp_path / "adapter").exists()
    assert not (tmp_path / "report" / "result.json").exists()
    assert tune(tmp_path, model_dir, plan).resumed_from_step == 3


def test_trap_15_a_checkpoint_that_was_cut_off_is_none(tmp_path: Path) -> None:
    adapter = torch.nn.Linear(4, 2)
    whole = torch.optim.AdamW(adapter.parameters())
    saved = Checkpoints(tmp_path, {"dataset": "a"})
    saved.begin(Position(step=1), adapter, whole, None)
    saved.finish()
    with small_files():
        saved.begin(Position(step=2), adapter, whole, None)
        with pytest.raises(OSError, match="File too large"):
            saved.finish()
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000001"]
    again = Checkpoints(tmp_path, {"dataset": "a"})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"], "no half one stays"
    position, _ = again.restore(adapter, whole)
    assert position.step == 1


def test_trap_15_the_adapter_is_replaced_whole_or_not_at_all(
    tmp_path: Path, model_dir: Path
) -> None:
    write_dataset(tmp_path)
    tune(tmp_path, model_dir, tiny_plan(epochs=1.0))
    before = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    (tmp_path / "report" / "result.json").unlink()
    broken = shutil.copytree(model_dir, tmp_path / "broken")
    (broken / "special_tokens_map.json").mkdir()
    with pytest.raises(OSError, match="special_tokens_map"):
        tune(tmp_path, broken, tiny_plan(epochs=1.0))
    after = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    assert before == after
    assert len(before) >= 8
    assert not list(tmp_path.glob(".adapter*"))
