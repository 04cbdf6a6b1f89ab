"""The whole step on tiny random models."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import torch

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import TrainingPlan, write_plan
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import read_rows
from argotune.steps.tune.params import Params, Result
from argotune.steps.tune.run import run
from tests.steps.tune.models import make_tokenizer


class StopAt(Progress):
    """Sends this process SIGTERM once a step is done, as a node that is taken away does."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def update(self, done: int, total: int) -> None:
        if done == self._step:
            signal.raise_signal(signal.SIGTERM)


def tune(
    work_dir: Path,
    model_dir: Path,
    plan: TrainingPlan,
    *,
    dataset_digest: str = "sha256:d",
    progress: Progress | None = None,
) -> Result:
    """Tune on work_dir/dataset, as the pipeline does."""
    write_plan(work_dir / "plan.yaml", plan)
    params = Params(
        plan_file=work_dir / "plan.yaml",
        model_dir=model_dir,
        work_dir=work_dir,
        dataset_digest=dataset_digest,
    )
    return run(params, progress=progress or Progress())


def loss_by_row(model: Any, work_dir: Path, model_dir: Path) -> float:
    """Loss per token of the held-out rows, each alone, by transformers' own loss."""
    tokenizer = make_tokenizer()
    rows, _ = read_rows(
        work_dir / "dataset" / "validation.parquet",
        chat_template(tokenizer, model_dir),
        tokenizer,
        1000,
    )
    total, labels = 0.0, 0
    for start, end in zip(rows.starts, rows.starts[1:], strict=False):
        ids = torch.from_numpy(rows.ids[start:end]).long()[None]
        learned = torch.from_numpy(rows.labelled[start:end])[None]
        with torch.no_grad():
            loss = model(ids, labels=ids.masked_fill(~learned, -100)).loss
        total += float(loss) * int(learned.sum())
        labels += int(learned.sum())
    return total / labels


def checkpoints(work_dir: Path) -> list[str]:
    """Their names, oldest first."""
    return sorted(path.name for path in (work_dir / "checkpoints").glob("step-*"))
