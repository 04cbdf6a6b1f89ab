"""A replay with the real dataset, tune and push in this process, so that torch is imported once.

The model is a random one, which the model step would refuse for its size.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from argotune.steps.common.fields import fields_of, parse_fields, text_of
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import TrainingPlan, Watch, write_plan
from argotune.steps.provenance.checks import Outcome, verify
from argotune.steps.provenance.evidence import gather
from argotune.steps.provenance.statement import DATASET, ENDED_EARLY, HELD_OUT
from argotune.steps.registry.oci import LayoutReference
from argotune.steps.registry.skopeo import Registry
from argotune.workflows.cli.local.replay import Places, replay
from tests.steps.tune.models import save_model, tiny_plan

MODEL_DIR = "model"
QUESTION = hashlib.sha256(b"what is 7").digest()[:8][::-1].hex()
"""As the dataset step numbers questions."""
CREATED = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_step(step: str, flags: Mapping[str, str]) -> Mapping[str, str]:
    """Run a step as its process does, and return its outputs."""
    if step == "model":
        return {"model-dir": MODEL_DIR}
    params = importlib.import_module(f"argotune.steps.{step}.params").Params
    run = importlib.import_module(f"argotune.steps.{step}.run").run
    result = run(parse_fields(params, flags), progress=Progress())
    return {item.kebab: text_of(getattr(result, item.name)) for item in fields_of(type(result))}


def make(root: Path, urls: str, plan: TrainingPlan) -> LayoutReference:
    """Tune and push as a run does, from the same data."""
    work_dir, models_dir = root / "work", root / "models"
    work_dir.mkdir()
    write_plan(work_dir / "plan.yaml", plan)
    of_plan = {"plan-file": str(work_dir / "plan.yaml")}
    of_run = {**of_plan, "work-dir": str(work_dir)}
    model_dir = str(models_dir / MODEL_DIR)
    tokenizer = {"tokenizer-dir": model_dir}
    of_dataset = {**of_run, **tokenizer, "urls": urls, "allow-files": "true"}
    data = run_step("dataset", {**of_dataset, "history-file": str(root / "history.json")})
    of_data = {**of_run, "dataset-digest": data["digest"], "created": CREATED}
    tuned = run_step(
        "tune",
        {
            **of_data,
            "model-dir": model_dir,
            "dataset-summary": data["summary"],
            "run-name": "demo-x",
            "end-after-step": "2",
        },
    )
    losses = {name: tuned[name] for name in ("base-loss", "tuned-loss")}
    further = {"urls": urls, "workflow": "demo-x", "model-dir": MODEL_DIR}
    pushed = run_step("push", {**of_data, **losses, **further, "image": f"oci:{root / 'image'}"})
    return LayoutReference(directory=root / "image", digest=pushed["digest"])


def test_training_again_gives_the_same_adapter_bit_for_bit(tmp_path: Path) -> None:
    """Of a run that its cost limit ended, on data with rows that an earlier run held out."""
    plan = tiny_plan(max_steps=3, watch=Watch(samples=0))
    held_out = {"share": 0.1, "seed": 0, "questions": [QUESTION]}
    (tmp_path / "history.held-out.json").write_text(json.dumps(held_out))
    save_model(tmp_path / "models" / MODEL_DIR)
    rows = [{"prompt": f"What is {n}?", "completion": f"It is {n + n}."} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    urls = json.dumps([(tmp_path / "rows.jsonl").as_uri()])
    reference = make(tmp_path, urls, plan)
    evidence = gather(reference, Registry(), tmp_path / "unused")
    statement = verify(evidence, []).statement
    assert statement is not None
    rows_of_then = statement.dependency(DATASET)
    assert rows_of_then is not None
    assert rows_of_then.annotations == {HELD_OUT: QUESTION}
    assert statement.byproduct(ENDED_EARLY) == {"because": "cost limit", "steps": "2"}
    places = Places(
        work_dir=tmp_path / "replay",
        models_dir=tmp_path / "models",
        repository=f"oci:{reference.directory}",
    )
    places.work_dir.mkdir()
    checks = list(replay(evidence, statement, places, run_step))
    assert [check.outcome for check in checks] == 3 * [Outcome.OK], checks
    assert checks[-1].text.startswith("the same, bit for bit: sha256:")
