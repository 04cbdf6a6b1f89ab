"""The plan beside the run, from the files of its report."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from argotune.steps.contracts.measured import NodeUse, compare_with_plan, duration
from argotune.steps.contracts.report import DATASET, METRICS, PLAN, RESULT, Files
from argotune.steps.contracts.training_plan import Speed, dump_plan
from tests.fakes.plans import small_plan

MEASURED = {
    "peak_memory_gb": 19.756,
    "tokens_per_second": 2500.4,
    "steps": 300,
    "stopped_early": "",
}


def files(*, on_gpu: bool = True, **result: Any) -> Files:
    """Of a run with 12 million tokens, planned for 2,000 to 4,000 a second at 3 USD/h."""
    plan = small_plan()
    hardware = msgspec.structs.replace(
        plan.hardware,
        gpus=1 if on_gpu else 0,
        price_usd_per_hour=3.0 if on_gpu else None,
        expected_tokens_per_second=Speed(low=2000.0, high=4000.0) if on_gpu else None,
    )
    memory = msgspec.structs.replace(plan.memory, total_gb=21.67)
    plan = msgspec.structs.replace(plan, hardware=hardware, memory=memory)
    times = [{"step": 0, "time": 1000.0}, {"step": 300, "time": 1000.0 + 80 * 60}]
    return {
        PLAN: dump_plan(plan).encode(),
        DATASET: json.dumps({"tokens": {"steps": 400, "run_tokens": 12_000_000}}).encode(),
        RESULT: json.dumps({"result": {**MEASURED, **result}}).encode(),
        METRICS: "".join(json.dumps(each) + "\n" for each in times).encode(),
    }


def test_all_that_was_planned_stands_beside_what_was_measured() -> None:
    use = NodeUse(hours=1.5, cost_usd=4.5, is_upper_bound=False)
    assert [(row.what, row.planned, row.measured) for row in compare_with_plan(files(), use)] == [
        ("peak memory of one GPU", "21.67 GB", "19.76 GB"),
        ("training speed", "2,000 to 4,000 tokens/s", "2,500 tokens/s"),
        ("optimizer steps", "400", "300"),
        ("time of tuning", "50 min to 100 min", "80 min"),
        ("cost of the node", "2.50 to 5.00 USD for training alone", "about 4.50 USD"),
    ]


def test_a_run_on_a_cpu_has_no_plan_of_memory_speed_and_cost() -> None:
    found = {row.what: row.planned for row in compare_with_plan(files(on_gpu=False))}
    assert found == {
        "peak memory of the process, on a CPU": "-",
        "training speed": "-",
        "optimizer steps": "400",
        "time of tuning": "-",
    }


def test_an_early_end_is_said_beside_its_steps() -> None:
    found = {r.what: r.measured for r in compare_with_plan(files(stopped_early="cost limit"))}
    assert found["optimizer steps"] == "300, ended early: cost limit"


@pytest.mark.parametrize("missing", [PLAN, RESULT])
def test_a_report_without_plan_or_result_has_nothing_to_compare(missing: str) -> None:
    assert compare_with_plan({**files(), missing: b"{}"}) == []


def test_what_an_earlier_version_did_not_measure_is_left_out() -> None:
    old = {**files(), RESULT: json.dumps({"result": {"steps": 300}}).encode()}
    found = [row.what for row in compare_with_plan(old)]
    assert found == ["optimizer steps", "time of tuning"]


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (NodeUse(hours=1.0, cost_usd=2.345, is_upper_bound=True), "at most 2.35 USD"),
        (
            NodeUse(hours=1.0, cost_usd=None, is_upper_bound=False),
            "1.00 h, at a price that is not known",
        ),
    ],
)
def test_a_spot_node_costs_at_most_and_one_without_a_price_its_hours(
    use: NodeUse, text: str
) -> None:
    assert str(use) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(62, "62 s"), (60 * 34, "34 min"), (3600 * 3.4, "3.4 h")]
)
def test_durations_are_written_for_a_person(seconds: float, text: str) -> None:
    assert duration(seconds) == text
