from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from argotune.steps.contracts.history import (
    Deployed,
    digest_of_plan,
    last_deployed,
    record_deployed,
)

DEPLOYED = Deployed(dataset_digest="sha256:aa", plan_digest="sha256:bb", reference="r/i@sha256:cc")


def test_a_record_is_read_back(tmp_path: Path) -> None:
    record_deployed(tmp_path / "history" / "my.json", DEPLOYED)
    assert last_deployed(tmp_path / "history" / "my.json") == DEPLOYED


def test_nothing_deployed_and_a_foreign_file_are_no_record(tmp_path: Path) -> None:
    assert last_deployed(tmp_path / "missing.json") is None
    (tmp_path / "foreign.json").write_text('{"some": "thing"}')
    assert last_deployed(tmp_path / "foreign.json") is None
    (tmp_path / "half.json").write_text('{"dataset')
    assert last_deployed(tmp_path / "half.json") is None


def test_another_plan_has_another_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("r: 8\n")
    (tmp_path / "b").write_text("r: 16\n")
    assert digest_of_plan(tmp_path / "a") != digest_of_plan(tmp_path / "b")


def test_runs_that_end_together_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: record_deployed(path, DEPLOYED), range(40)))
    assert last_deployed(path) == DEPLOYED
    assert sorted(file.name for file in tmp_path.iterdir()) == [".my.json.lock", "my.json"]
