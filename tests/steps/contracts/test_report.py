from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.contracts.report import (
    ARTIFACT_TYPE,
    LOGS,
    METRICS,
    MOST_BYTES,
    TITLE,
    collect,
    read_layout,
    records,
)


def write(work_dir: Path, name: str, content: str | bytes) -> None:
    path = work_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def test_a_report_has_what_the_steps_wrote_and_no_rows_of_the_data(tmp_path: Path) -> None:
    written = {
        "plan.yaml": "name: x",
        "dataset/dataset.json": "{}",
        "report/result.json": "{}",
        "report/metrics.jsonl": "{}\n",
        "report/samples.jsonl": "{}\n",
        "report/loss.png": b"\x89PNG",
        "report/report.html": "<html>",
        "logs/tune.log": "one\n",
    }
    for name, content in written.items():
        write(tmp_path, name, content)
    write(tmp_path, "dataset/rejected.jsonl", "{}\n")
    write(tmp_path, "dataset/train.parquet", "rows")
    found = collect(tmp_path)
    assert {Path(name).name for name in found} == {Path(name).name for name in written}
    assert found["logs/tune.log"] == b"one\n"


def test_a_run_that_wrote_nothing_has_an_empty_report(tmp_path: Path) -> None:
    assert collect(tmp_path) == {}


def test_of_a_long_log_the_last_whole_lines_stay(tmp_path: Path) -> None:
    write(tmp_path, "logs/tune.log", "".join(f"line {number}\n" for number in range(50_000)))
    lines = collect(tmp_path)[f"{LOGS}/tune.log"].decode().splitlines()
    assert lines[-1] == "line 49999"
    assert lines[0].startswith("line ")
    assert 1_000 < len(lines) < 50_000


def test_of_long_metrics_every_nth_step_stays_and_every_evaluation(tmp_path: Path) -> None:
    steps = [{"step": step, "loss": 1.0, "pad": "x" * 300} for step in range(30_000)]
    for step in (1, 2, 29_999):
        steps[step] = {"step": step, "eval_loss": 0.5}
    write(tmp_path, "report/metrics.jsonl", "".join(json.dumps(each) + "\n" for each in steps))
    files = collect(tmp_path)
    kept = records(files, METRICS)
    assert [each["step"] for each in kept if "eval_loss" in each] == [1, 2, 29_999]
    assert kept[0]["step"] == 0
    assert len(files[METRICS]) < 4_100_000


def test_the_whole_is_bounded_and_the_page_goes_first(tmp_path: Path) -> None:
    write(tmp_path, "plan.yaml", "name: x")
    write(tmp_path, "report/report.html", b"x" * MOST_BYTES)
    assert list(collect(tmp_path)) == ["plan.yaml"]


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        ({"artifactType": "application/other", "layers": []}, "tag r is not a report of argotune"),
        (
            {
                "artifactType": ARTIFACT_TYPE,
                "layers": [{"digest": "sha256:b", "annotations": {TITLE: "../evil"}}],
            },
            "a layer is called '../evil', which is no file of a report",
        ),
    ],
)
def test_what_is_no_report_is_refused(
    tmp_path: Path, manifest: dict[str, Any], problem: str
) -> None:
    entry = {"digest": "sha256:a", "annotations": {"org.opencontainers.image.ref.name": "r"}}
    write(tmp_path, "index.json", json.dumps({"manifests": [entry]}))
    write(tmp_path, "blobs/sha256/a", json.dumps(manifest))
    with pytest.raises(ValueError, match=problem):
        read_layout(tmp_path, "r")


def test_a_tag_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, "index.json", '{"manifests": []}')
    with pytest.raises(ValueError, match="has no tag r"):
        read_layout(tmp_path, "r")
