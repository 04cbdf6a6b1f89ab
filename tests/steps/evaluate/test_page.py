"""The evaluation on the run's page."""

from __future__ import annotations

from pathlib import Path

import msgspec

from argotune.steps.common.html_page import page
from argotune.steps.contracts.checks import CheckResult
from argotune.steps.contracts.evaluation import Answers, Comparison, Evaluation
from argotune.steps.evaluate.page import add_to_report

HOSTILE = "</section><script>alert(1)</script>"
FOUND = Evaluation(
    made_from={},
    verdict="rejected",
    reason=f"check {HOSTILE} is below 1",
    rows=40,
    tokens=900,
    new_loss=1.0,
    confidence=0.95,
    live="v3",
    comparisons=[
        Comparison(against="base", loss=1.5, gain=0.5, low=0.25, high=0.75, margin=0, passed=True),
        Comparison(against="live", loss=None, gain=None, margin=0.1, passed=False),
    ],
    checks=[CheckResult(name=HOSTILE, kind="regex", score=0.9, min=1.0, passed=False, rows=20)],
    answers=[Answers(prompt="Who?", reference="You", base="I", new=HOSTILE, live=HOSTILE)],
)


def _report(work_dir: Path) -> Path:
    path = work_dir / "report" / "report.html"
    path.parent.mkdir()
    path.write_text(page("curves", ["<p>drawn</p>"]))
    return path


def test_the_runs_page_gets_the_losses_checks_and_answers(tmp_path: Path) -> None:
    path = _report(tmp_path)
    add_to_report(tmp_path, FOUND)
    text = path.read_text()
    assert "<p>drawn</p>" in text
    assert "intervals of 95%" in text
    for cell in ("0.25 to 0.75", "0.9", "Who?", "rejected", "v3"):
        assert f">{cell}<" in text
    assert text.rstrip().endswith("</html>")


def test_another_try_replaces_what_the_first_one_added(tmp_path: Path) -> None:
    path = _report(tmp_path)
    add_to_report(tmp_path, FOUND)
    once = path.read_text()
    add_to_report(tmp_path, FOUND)
    assert path.read_text() == once
    add_to_report(tmp_path, msgspec.structs.replace(FOUND, verdict="passed"))
    assert path.read_text() == once.replace("<dd>rejected<", "<dd>passed<")


def test_what_models_say_is_text_on_the_page(tmp_path: Path) -> None:
    path = _report(tmp_path)
    add_to_report(tmp_path, FOUND)
    text = path.read_text()
    assert "<script" not in text
    assert text.count("</section>") == 1
    assert text.count("&lt;script&gt;") == 4


def test_a_run_without_a_page_gets_none(tmp_path: Path) -> None:
    add_to_report(tmp_path, FOUND)
    assert list(tmp_path.iterdir()) == []
