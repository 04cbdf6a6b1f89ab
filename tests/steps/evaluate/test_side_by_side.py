"""Several models of one base beside each other, with a real, tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.checks import Regex
from argotune.steps.contracts.side_by_side import (
    FILE,
    ComparedModel,
    SideBySide,
    adapter_dir,
    parse_side_by_side,
    write_models,
)
from argotune.steps.contracts.training_plan import Evaluation, read_plan, write_plan
from argotune.steps.evaluate.side_by_side.params import Params, Result
from argotune.steps.evaluate.side_by_side.run import run


def measure(
    work_dir: Path,
    model_dir: Path,
    *models: ComparedModel,
    evaluation: Evaluation | None = None,
    **changes: Any,
) -> tuple[SideBySide, Result]:
    """What is found of models, whose rows are the held-out ones of the run."""
    plan = read_plan(work_dir / "plan.yaml")
    write_plan(
        work_dir / "plan.yaml",
        msgspec.structs.replace(plan, evaluation=evaluation or plan.evaluation),
    )
    dataset = work_dir / "dataset"
    (dataset / "validation.parquet").replace(dataset / "train.parquet")
    write_models(work_dir, models)
    params = Params(
        plan_file=work_dir / "plan.yaml", model_dir=model_dir, work_dir=work_dir, **changes
    )
    result = run(params, progress=Progress())
    return parse_side_by_side((work_dir / FILE).read_bytes()), result


def tuned_adapter(work_dir: Path, name: str) -> ComparedModel:
    """The run's adapter, where the plan step unpacks adapters."""
    image = f"oci:dist@sha256:{64 * 'a'}"
    shutil.copytree(work_dir / "adapter", adapter_dir(work_dir, image), dirs_exist_ok=True)
    return ComparedModel(name=name, image=image)


def test_losses_are_those_of_the_gate_and_differences_are_to_the_first(
    work_dir: Path, model_dir: Path
) -> None:
    # Names of the user's own may have dots.
    adapters = [tuned_adapter(work_dir, name) for name in ("v1.0", "v2.0")]
    found, result = measure(
        work_dir, model_dir, ComparedModel(name="v0.0"), *adapters, shown_answers=2
    )
    base, new, same = found.models
    tuned = json.loads((work_dir / "report" / "result.json").read_text())["result"]
    assert (base.loss, new.loss) == (
        pytest.approx(tuned["base_loss"], rel=1e-5),
        pytest.approx(tuned["tuned_loss"], rel=1e-5),
    )
    assert base.difference is None
    assert new.difference is not None
    assert new.difference.low is not None
    assert 0 < new.difference.low < new.difference.gain
    assert (same.loss, same.difference) == (new.loss, new.difference)
    assert (found.rows, len(found.questions), len(new.answers)) == (6, 2, 2)
    assert [each.name for each in found.models] == ["v0.0", "v1.0", "v2.0"]

    assert result.summary.startswith(f"v0.0 {base.loss:.4f}; v1.0 {new.loss:.4f}, better by +")
    assert parse_side_by_side(result.found.encode()) == found


def test_a_base_alone_is_measured_and_checked_with_the_plans_checks(
    work_dir: Path, model_dir: Path
) -> None:
    checks = Evaluation(checks=[Regex(pattern="(?s)^.*$")], check_rows=4, check_tokens=2)
    found, _ = measure(
        work_dir, model_dir, ComparedModel(name="base"), evaluation=checks, shown_answers=1
    )
    [base] = found.models
    assert [(each.name, each.score, each.rows) for each in base.checks] == [("regex", 1, 4)]
    assert (len(base.answers), base.adapter) == (1, "")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"shown_answers": 101}, "--shown-answers: 101; accepted are 0 to 100"),
        ({"confidence": 1.0}, "--confidence: 1.0; accepted are 0.5 to below 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ParamsError) as caught:
        Params(plan_file=Path(), model_dir=Path(), work_dir=Path(), **changes)
    assert caught.value.problems == [problem]
