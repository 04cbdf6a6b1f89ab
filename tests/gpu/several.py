"""The whole tune step in one process and in one for each GPU: as many tokens, the same losses."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import msgspec
import torch

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import Origin, mark_complete
from argotune.steps.contracts.training_plan import Execution, Quantization, write_plan
from argotune.steps.tune.params import Params, Result
from argotune.steps.tune.run import run
from tests.bench.tune.rig import (
    LENGTHS,
    save_random_model,
    save_tokenizer,
    tiny_config,
    tiny_plan,
    write_rows,
)
from tests.gpu.records import Records

_LOSS_APART = 1e-2


def several(records: Records) -> None:
    """Two GPUs or more: DDP with 4-bit weights, and weights that the GPUs share (FSDP2)."""
    gpus = torch.cuda.device_count()
    if gpus < 2:
        records.add("several GPUs", skipped=f"{gpus} GPUs here")
        return
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as place:
        tune = functools.partial(_tune, Path(place))
        one = tune(Execution(processes=1))
        for name, execution in (
            (f"{gpus} processes", Execution(processes=gpus)),
            (f"{gpus} processes, weights shared", Execution(processes=gpus, shard=True)),
        ):
            result = tune(execution)
            losses = [torch.tensor(each.train_loss) for each in (result, one)]
            records.check_apart(
                name,
                *losses,
                _LOSS_APART,
                tokens_per_second=result.tokens_per_second,
                of_one=one.tokens_per_second,
                peak_gb=result.peak_memory_gb,
            )


def _tune(place: Path, execution: Execution) -> Result:
    """The step with QLoRA on a small model, in a directory of its own for each execution."""
    model_dir = place / "model"
    if not model_dir.exists():
        save_random_model(model_dir, tiny_config(), torch.bfloat16)
        write_rows(place / "rows.parquet", save_tokenizer(model_dir), LENGTHS["mixed"], 320)
        mark_complete(model_dir, Origin(source="hub", version="0" * 40))
    work_dir = place / f"{execution.processes}-{execution.shard}"
    for split in ("train", "validation"):
        target = work_dir / "dataset" / f"{split}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((place / "rows.parquet").read_bytes())
    plan = tiny_plan(packs=8)
    training = msgspec.structs.replace(plan.training, max_steps=8, accumulation_steps=8)
    write_plan(
        work_dir / "plan.yaml",
        msgspec.structs.replace(
            plan,
            method="qlora",
            quantization=Quantization(),
            training=training,
            execution=execution,
        ),
    )
    params = Params(
        plan_file=work_dir / "plan.yaml",
        model_dir=model_dir,
        work_dir=work_dir,
        dataset_digest="sha256:0",
    )
    return run(params, progress=Progress())
