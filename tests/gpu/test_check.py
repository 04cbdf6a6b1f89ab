"""The check of a GPU in the smallest sizes on the CPU, so that it is in step with the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.gpu.__main__ import STAGES, measure, report
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


def test_a_card_that_is_too_small_for_a_stage_is_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def seven(records: Records) -> None:
        records.add("loaded", peak_gb=5.2)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    measure(seven, Records(tmp_path, "seven", dry=True))
    assert report(tmp_path) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "WRONG  seven: stage: the GPU's memory is too small: CUDA out of memory. Tried to allocate "
        "2.00 GiB. GPU 0 has; use a smaller max_length, method qlora or a GPU with more memory"
    )


def test_a_bug_in_a_stage_is_no_record(tmp_path: Path) -> None:
    def broken(records: Records) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        measure(broken, Records(tmp_path, "mini", dry=True))


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
