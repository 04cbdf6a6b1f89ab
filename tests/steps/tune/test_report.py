from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from argotune.steps.tune.report import Report
from argotune.steps.tune.samples import Answer
from argotune.steps.tune.trackers import TensorBoard


def step_record(step: int, loss: float) -> dict[str, Any]:
    return {
        "step": step,
        "epoch": step / 10,
        "loss": loss,
        "learning_rate": 1e-4,
        "gradient_norm": 0.5,
        "tokens_per_second": 1234.5,
        "memory_gb": 1.5,
    }


def steps(directory: Path, name: str = "metrics.jsonl") -> list[int]:
    return [json.loads(line)["step"] for line in (directory / name).read_text().splitlines()]


def answer(text: str) -> Answer:
    return Answer(prompt="Is <b> bold?", expected="Yes & no.", answer=text, finished=True)


def scalars(directory: Path, tag: str) -> list[tuple[int, float]]:
    found = EventAccumulator(str(directory))
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars(tag)]


def test_what_came_after_the_checkpoint_is_dropped_everywhere(tmp_path: Path) -> None:
    for first, last, loss in ((0, 6, 1.0), (4, 5, 0.5)):
        report = Report(tmp_path, "run", trackers=[TensorBoard(tmp_path / "tensorboard")])
        report.rewind(first - 1)
        for step in range(first, last):
            report.add(step_record(step, loss))
            report.add_answers(step, [answer("x")])
        report.close(succeeded=True)
    assert steps(tmp_path) == steps(tmp_path, "samples.jsonl") == [0, 1, 2, 3, 4]
    assert scalars(tmp_path / "tensorboard", "train/loss") == [
        *((step, 1.0) for step in range(4)),
        (4, 0.5),
    ]


def test_tensorboard_shows_what_metrics_jsonl_has(tmp_path: Path) -> None:
    report = Report(tmp_path, "run", trackers=[TensorBoard(tmp_path / "tensorboard")])
    report.rewind(-1)
    report.add({"step": 0, "eval_loss": 3.0})
    report.add(step_record(1, 2.5))
    report.close(succeeded=True)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert sorted(found.Tags()["scalars"]) == [
        "eval/loss",
        "train/epoch",
        "train/grad_norm",
        "train/learning_rate",
        "train/loss",
        "train/memory_gb",
        "train/tokens_per_second",
    ]
    record = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[1])
    (event,) = found.Scalars("train/tokens_per_second")
    assert (event.step, event.value, event.wall_time) == (1, 1234.5, record["time"])


def test_a_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    report = Report(tmp_path)
    report.add({"step": 1, "loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    report.rewind(2)
    assert steps(tmp_path) == [1]


def test_the_curves_are_drawn_with_and_without_losses(tmp_path: Path) -> None:
    report = Report(tmp_path, "nothing yet")
    report.draw()
    empty = (tmp_path / "loss.png").read_bytes()
    report.add({"step": 0, "eval_loss": 3.0})
    report.add(step_record(1, 2.5))
    report.draw()
    drawn = (tmp_path / "loss.png").read_bytes()
    report.close(succeeded=True)
    assert empty.startswith(b"\x89PNG")
    assert drawn.startswith(b"\x89PNG")
    assert drawn != empty


def test_the_page_says_how_the_run_was_made(tmp_path: Path) -> None:
    report = Report(tmp_path, "run", {"run": "demo-abcde, 2026-01-31", "data": "5 rows: <4>"})
    report.close(succeeded=True)
    page = (tmp_path / "report.html").read_text()
    assert '<td class="text">demo-abcde, 2026-01-31</td>' in page
    assert '<td class="text">5 rows: &lt;4&gt;</td>' in page


def test_the_page_needs_no_network_and_runs_no_text_of_a_model(tmp_path: Path) -> None:
    report = Report(tmp_path, "a <run>")
    report.add({"step": 0, "eval_loss": 3.0})
    report.add(step_record(1, 2.5))
    report.add({"step": 1, "eval_loss": 2.25})
    report.add_answers(1, [answer("<script>alert(1)</script>")])
    report.close(succeeded=True)
    page = (tmp_path / "report.html").read_text()
    assert "<title>a &lt;run&gt;</title>" in page
    assert "2.2500 at step 1" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "Is &lt;b&gt; bold?" in page
    for reference in ("<script", "src=", "<link", "url(http", 'href="http', "@import"):
        assert reference not in page, reference
