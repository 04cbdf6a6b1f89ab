"""What is left of a rejected adapter for the schedule, and for the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.evaluation import Comparison, Evaluation, write_evaluation
from argotune.steps.contracts.history import (
    Rejected,
    digest_of_plan,
    last_deployed,
    last_rejected,
)
from argotune.steps.contracts.live_adapter import LiveAdapter, write_live_adapter
from argotune.steps.reject.params import Params, Result
from argotune.steps.reject.run import run
from tests.fakes.adapter import write_adapter, write_model, write_tiny_plan

DIGEST = f"sha256:{64 * 'd'}"
LIVE = f"sha256:{64 * '3'}"
GATE = f"sha256:{64 * 'a'}"
REFERENCE = f"registry.example.com/mine@{DIGEST}"


def reject(root: Path, **changes: Any) -> Result:
    write_model(root / "model", write_adapter(root / "adapter"))
    write_tiny_plan(root / "plan.yaml")
    values: dict[str, Any] = {
        "plan_file": root / "plan.yaml",
        "model_dir": root / "model",
        "work_dir": root,
        "dataset_digest": DIGEST,
        "reference": REFERENCE,
        "gate": GATE,
        "history_file": root / "history" / "mine.json",
        "verdict": "rejected",
        "reason": "it is no better than v3 in service: its gain is -0.2 nats per token",
        "outcome": "kept v3",
    }
    return run(Params(**values | changes), progress=Progress())


def recorded(root: Path) -> Rejected | None:
    assert last_deployed(root / "history" / "mine.json") is None
    return last_rejected(root / "history" / "mine.json")


@pytest.mark.parametrize(("verdict", "by"), [("rejected", "gate"), ("passed", "person")])
def test_data_plan_and_weights_are_recorded(tmp_path: Path, verdict: str, by: str) -> None:
    # What a person says fails no run.
    on_rejected = "keep" if by == "gate" else "fail"
    assert reject(tmp_path, verdict=verdict, on_rejected=on_rejected) == Result(rejected_by=by)
    assert recorded(tmp_path) == Rejected(
        dataset_digest=DIGEST,
        plan_digest=digest_of_plan(tmp_path / "plan.yaml"),
        base_version="0" * 40,
        reference=REFERENCE,
        gate=GATE if by == "gate" else "",
    )


def test_the_adapter_in_service_is_recorded_where_another_one_might_have_lost(
    tmp_path: Path,
) -> None:
    def recorded_live(*lost_to: Literal["base", "live"], verdict: str = "rejected") -> str:
        write_evaluation(tmp_path, evaluation(*lost_to))
        reject(tmp_path, verdict=verdict)
        found = recorded(tmp_path)
        assert found is not None
        return found.live

    write_live_adapter(tmp_path, LiveAdapter(digest=LIVE, version="v3"))
    assert recorded_live("live") == LIVE
    assert recorded_live("live", verdict="passed") == ""
    assert recorded_live("base", "live") == ""
    assert recorded_live() == "", "its answers were empty"


def evaluation(*lost_to: Literal["base", "live"]) -> Evaluation:
    return Evaluation(
        made_from={},
        verdict="rejected",
        reason="",
        rows=40,
        tokens=400,
        new_loss=2.0,
        confidence=0.95,
        comparisons=[
            Comparison(against=each, loss=2.0, gain=0.0, margin=0.0, passed=each not in lost_to)
            for each in get_args(Literal["base", "live"])
        ],
    )


def test_a_run_that_is_to_fail_for_it_fails_when_it_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        reject(tmp_path, on_rejected="fail")
    assert str(caught.value) == (
        "kept v3: it is no better than v3 in service: its gain is -0.2 nats per token; the adapter"
        f" is {REFERENCE}, and on-rejected is fail"
    )
    assert recorded(tmp_path) is not None


def test_an_adapter_that_was_not_sent_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        reject(tmp_path, reference="")
    assert str(caught.value).startswith("--reference: empty")
    assert recorded(tmp_path) is None
