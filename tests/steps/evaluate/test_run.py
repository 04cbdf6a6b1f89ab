"""The gate with real trainings of a tiny random model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.causal_lm.device import find_device
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.evaluation import read_evaluation
from argotune.steps.contracts.live_adapter import DIRECTORY, LiveAdapter, write_live_adapter
from argotune.steps.contracts.serving import FILE_NAME
from argotune.steps.contracts.training_plan import read_plan
from argotune.steps.evaluate.measure import learned_tokens, row_losses
from argotune.steps.evaluate.models import load_models
from argotune.steps.evaluate.params import Params, Result
from argotune.steps.evaluate.run import run
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import read_rows
from argotune.steps.tokens.tokenizer import load_tokenizer
from tests.steps.evaluate.conftest import tune_in
from tests.steps.tune.models import write_rows

DIGEST = f"sha256:{64 * 'a'}"


def evaluate(work_dir: Path, model_dir: Path, **changes: Any) -> Result:
    # A random model of 12 steps answers nothing in full.
    settings = {"answers": 0, **changes}
    params = Params(
        plan_file=work_dir / "plan.yaml", model_dir=model_dir, work_dir=work_dir, **settings
    )
    return run(params, progress=Progress())


def put_into_service(work_dir: Path, adapter: Path, version: str = "v3") -> None:
    """As the model step leaves the adapter that is in service."""
    shutil.copytree(adapter, work_dir / DIRECTORY)
    write_live_adapter(work_dir, LiveAdapter(digest=DIGEST, version=version))


def test_a_better_adapter_passes_with_the_losses_that_tune_measured(
    work_dir: Path, model_dir: Path
) -> None:
    result = evaluate(work_dir, model_dir)
    tuned = json.loads((work_dir / "report" / "result.json").read_text())["result"]
    assert result.verdict == "passed"
    assert (result.base_loss, result.new_loss, result.live_loss) == (
        pytest.approx(tuned["base_loss"], rel=1e-5),
        pytest.approx(tuned["tuned_loss"], rel=1e-5),
        "not measured",
    )
    assert result.reason.startswith("on 6 held-out rows it is better than the base model by ")


def test_a_learning_rate_of_1_does_not_go_live(
    tuned: Path, model_dir: Path, tmp_path: Path
) -> None:
    """The case of the issue: it is better than the base model, and far worse than what serves."""
    work_dir = tune_in(tmp_path, model_dir, learning_rate=1.0)
    put_into_service(work_dir, tuned / "adapter")
    result = evaluate(work_dir, model_dir)
    assert result.verdict == "rejected"
    assert result.reason.startswith("it is no better than v3 in service: its gain is -")
    assert result.summary == f"kept v3: {result.reason}"
    assert isinstance(result.live_loss, float)
    assert isinstance(result.new_loss, float)
    assert result.live_loss < result.new_loss


def test_the_weights_that_are_in_service_are_no_worse_than_themselves(
    work_dir: Path, model_dir: Path
) -> None:
    put_into_service(work_dir, work_dir / "adapter")
    result = evaluate(work_dir, model_dir)
    assert (result.verdict, result.warning) == (
        "passed",
        "its weights are those of v3 in service",
    )


def test_an_adapter_of_another_base_is_not_compared(work_dir: Path, model_dir: Path) -> None:
    put_into_service(work_dir, work_dir / "adapter")
    contract = work_dir / DIRECTORY / FILE_NAME
    values = json.loads(contract.read_text())
    values["base"] |= {"digest": DIGEST, "repository": "acme/old", "revision": "c" * 40}
    contract.write_text(json.dumps(values))
    result = evaluate(work_dir, model_dir)
    assert (result.verdict, result.live_loss) == ("passed", "not measured")
    assert result.warning == (
        "the adapter in service was not compared: it belongs to acme/old@cccccccccccc, and this "
        "run tuned acme/random@000000000000"
    )


def test_an_adapter_that_could_not_be_fetched_is_a_warning(work_dir: Path, model_dir: Path) -> None:
    write_live_adapter(work_dir, LiveAdapter(digest=DIGEST, problem="the registry refused it"))
    result = evaluate(work_dir, model_dir)
    assert result.warning == "the adapter in service was not compared: the registry refused it"


@pytest.mark.parametrize(("setting", "verdict"), [("pass", "passed"), ("reject", "rejected")])
def test_without_held_out_rows_a_setting_decides(
    setting: str, verdict: str, work_dir: Path, model_dir: Path
) -> None:
    write_rows(work_dir / "dataset" / "validation.parquet", [])
    result = evaluate(work_dir, model_dir, without_rows=setting)
    assert (result.verdict, result.base_loss) == (verdict, "not measured")
    assert result.reason.startswith("no row was held out, so nothing was measured")


def test_without_the_gate_everything_passes_at_once(tuned: Path, tmp_path: Path) -> None:
    shutil.copy(tuned / "plan.yaml", tmp_path)
    result = evaluate(tmp_path, tmp_path, gate="off")
    assert (result.verdict, result.reason) == (
        "passed",
        "the gate is off, so nothing was measured",
    )


def test_another_try_takes_over_what_one_found(work_dir: Path, model_dir: Path) -> None:
    first = evaluate(work_dir, model_dir)
    (work_dir / "adapter" / FILE_NAME).unlink()
    assert evaluate(work_dir, model_dir) == first
    with pytest.raises(PermanentError, match=r"serving\.json"):
        evaluate(work_dir, model_dir, min_improvement=1.0)


def test_the_file_has_the_answers_of_all_models(work_dir: Path, model_dir: Path) -> None:
    put_into_service(work_dir, work_dir / "adapter")
    shutil.copytree(
        work_dir / DIRECTORY, work_dir / "adapter", dirs_exist_ok=True, copy_function=_touched
    )
    evaluate(work_dir, model_dir, answers=2, answer_tokens=6)
    found = read_evaluation(work_dir)
    assert found is not None
    assert [each.prompt for each in found.answers] == [
        "What does 25 stand for?",
        "What does 26 stand for?",
    ]
    first = found.answers[0]
    assert first.reference == "It stands for yyyyyyyyyyyyyyyyyyyyyyyyy."
    assert first.live == first.new != first.base


def _touched(source: str, target: str) -> str:
    """Copy, with weights that have other bytes and the same numbers."""
    shutil.copy(source, target)
    if target.endswith("adapter_model.safetensors"):
        _rewrite(Path(target))
    return target


def _rewrite(weights: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file(load_file(weights), weights, metadata={"format": "pt", "made": "again"})


def test_a_row_has_the_same_loss_in_any_batch(tuned: Path, model_dir: Path) -> None:
    plan, device = read_plan(tuned / "plan.yaml"), find_device()
    tokenizer = load_tokenizer(model_dir)
    template = chat_template(tokenizer, model_dir, None)
    rows, _ = read_rows(tuned / "dataset" / "train.parquet", template, tokenizer, 120)
    models = load_models(plan, model_dir, tuned / "adapter", None, device)
    with models.using("new") as model:
        alone, together = (
            row_losses(model, rows, device, batch_tokens=tokens) for tokens in (1, 10_000)
        )
    assert len(alone) == 24
    assert learned_tokens(rows).tolist() == list(range(7, 31))
    assert together == pytest.approx(alone, rel=1e-5)
