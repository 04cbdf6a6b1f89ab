from __future__ import annotations

import json
from pathlib import Path

from steps.tune.report import Report


def steps(directory: Path) -> list[int]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_what_came_after_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    report = Report(tmp_path)
    for step in range(1, 6):
        report.add({"step": step, "loss": 1.0})
    report.rewind(3)
    report.add({"step": 4, "loss": 0.5})
    assert steps(tmp_path) == [1, 2, 3, 4]


def test_a_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    report = Report(tmp_path)
    report.add({"step": 1, "loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    report.rewind(2)
    assert steps(tmp_path) == [1]


def test_the_curve_is_drawn_with_and_without_losses(tmp_path: Path) -> None:
    report = Report(tmp_path)
    report.plot("nothing yet")
    empty = (tmp_path / "loss.png").read_bytes()
    report.add({"step": 0, "eval_loss": 3.0})
    report.add({"step": 1, "loss": 2.5})
    report.plot("one step")
    drawn = (tmp_path / "loss.png").read_bytes()
    assert empty.startswith(b"\x89PNG")
    assert drawn.startswith(b"\x89PNG")
    assert drawn != empty
