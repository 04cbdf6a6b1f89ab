"""The check of a GPU in the smallest sizes on the CPU, so that it is in step with the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gpu.__main__ import STAGES, report
from tests.gpu.records import Records, read, wrong

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


# phi-3 is in mini-16, and 4-bit weights are in seven.
@pytest.mark.parametrize("stage", [name for name in STAGES if name != "mini"])
def test_a_stage_measures_what_is_right_on_a_cpu_too(stage: str, tmp_path: Path) -> None:
    STAGES[stage][0](Records(tmp_path, stage, dry=True))
    records = read(tmp_path)
    assert records
    assert wrong(records) == []
    assert report(tmp_path) == 0


def test_what_is_apart_or_failed_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"stage": "kernels", "what": "norm", "apart": 0.5, "limit": 0.02},
        {"stage": "kernels", "what": "loss", "apart": float("nan"), "limit": 0.02},
        {"stage": "kernels", "what": "layer", "apart": 0.01, "limit": 0.02},
        {"stage": "seven", "what": "stage", "error": "exit code 1, see above"},
    ]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert report(tmp_path) == 1
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    assert told == [
        "WRONG  kernels: norm: 0.5 apart, at most 0.02 is right",
        "WRONG  kernels: loss: nan apart, at most 0.02 is right",
        "WRONG  seven: stage: exit code 1, see above",
    ]
