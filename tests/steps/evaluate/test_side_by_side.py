"""Several models of one base beside each other, with a real, tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.side_by_side import SideBySide, read_side_by_side
from argotune.steps.evaluate.side_by_side.params import Params
from argotune.steps.evaluate.side_by_side.run import run


def measure(work_dir: Path, model_dir: Path, *adapters: str, **changes: Any) -> SideBySide:
    params = Params(
        plan_file=work_dir / "plan.yaml",
        model_dir=model_dir,
        rows_file=work_dir / "dataset" / "validation.parquet",
        output_file=work_dir / "found.json",
        names=tuple(f"v{place}.0" for place in range(len(adapters))),
        adapters=adapters,
        images=tuple(each and "oci:dist@sha256:1" for each in adapters),
        **changes,
    )
    run(params, progress=Progress())
    return read_side_by_side(work_dir / "found.json")


def test_losses_are_those_of_the_gate_and_differences_are_to_the_first(
    work_dir: Path, model_dir: Path
) -> None:
    adapter = str(work_dir / "adapter")
    found = measure(work_dir, model_dir, "", adapter, adapter, answers=2)
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


def test_a_base_alone_is_measured_and_checked(work_dir: Path, model_dir: Path) -> None:
    checks = work_dir / "checks.json"
    checks.write_text('[{"kind": "regex", "pattern": "(?s)^.*$"}]')
    [base] = measure(
        work_dir, model_dir, "", checks_file=checks, check_rows=4, check_tokens=2, answers=1
    ).models
    assert [(each.name, each.score, each.rows) for each in base.checks] == [("regex", 1, 4)]
    assert (len(base.answers), base.adapter) == (1, "")


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ParamsError, match="one of each a model"):
        Params(
            plan_file=Path(),
            model_dir=Path(),
            rows_file=Path(),
            output_file=Path(),
            names=("a", "b"),
            adapters=("",),
            images=("",),
        )
