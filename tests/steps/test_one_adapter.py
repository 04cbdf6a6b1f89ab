"""The same rows make the same adapter, wherever they come from.

Each source is read by the step dataset, tuned on and packed by the steps themselves; the digest is
the one that push reports. `make test-sources` takes all sources, `make test` two.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from argotune.steps.common.progress import Progress
from argotune.steps.push import params as push_params
from argotune.steps.push import run as push
from argotune.steps.tune.run import run as tune
from tests.steps.dataset.every_source import (
    KINDS,
    Clouds,
    FromEach,
    clouds,
    from_each,
    hub,
    make,
    new_params,
    s3,
)
from tests.steps.tune.models import params_for, save_model, tiny_plan

__all__ = ["clouds", "from_each", "hub", "new_params", "s3"]

_KINDS = KINDS if os.environ.get("SOURCES") == "all" else ["path", "s3"]


def test_the_same_rows_from_every_source_make_one_adapter(
    from_each: FromEach, clouds: Clouds, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    model_dir = save_model(tmp_path / "model")
    plan = tiny_plan(max_steps=3, micro_batch_tokens=1024)
    digests = {}
    for kind in _KINDS:
        params, environment = from_each(kind)
        data = make(params, clouds.stores, **environment)
        assert data.rows == 1000
        digest = data.digest
        tuned = tune(params_for(params.work_dir, model_dir, plan, digest), progress=Progress())
        assert tuned.steps == 3
        image = push.run(
            push_params.Params(
                work_dir=params.work_dir,
                plan_file=params.work_dir / "plan.yaml",
                image=f"oci:{params.work_dir}/out",
                dataset_digest=digest,
                model_dir="random/0",
                base_loss=tuned.base_loss,
                tuned_loss=tuned.tuned_loss,
                created="2026-01-01T00:00:00Z",
                urls=params.urls,
            ),
            progress=Progress(),
        )
        digests[kind] = image.digest
    assert len(set(digests.values())) == 1, digests
