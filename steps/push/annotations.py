"""Annotations of the adapter's image about its origin."""

from __future__ import annotations

import hashlib

from argotune.steps.common.fields import text_of
from argotune.steps.contracts import adapter_image as names
from argotune.steps.contracts.evaluation import read_evaluation
from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.steps.contracts.serving import Base
from argotune.steps.contracts.start_adapter import start_of
from argotune.steps.contracts.training_plan import UNKNOWN_LICENSE, TrainingPlan, dump_plan
from argotune.steps.push.params import Params
from argotune.steps.push.spent import node_use


def annotations_of(params: Params, plan: TrainingPlan, base: Base, tag: str) -> dict[str, str]:
    """The manifest's annotations: those of the OCI specification, Kaito's and argotune's.

    `base` is the model that was tuned, which may be another than the plan's preset names.
    """
    model = plan.model
    annotations = {
        names.CREATED: params.created,
        names.WORKSPACE: plan.name,
        names.OUTPUT_TAG: tag,
        f"{names.OCI}.revision": base.revision,
        names.BASE_MODEL: base.repository,
        names.BASE_REVISION: base.revision,
        names.BASE_DIGEST: base.digest,
        names.MODEL_DIR: params.model_dir,
        names.DATASET_DIGEST: params.dataset_digest,
        names.CONFIG_DIGEST: f"sha256:{hashlib.sha256(dump_plan(plan).encode()).hexdigest()}",
        names.BASE_LOSS: text_of(params.base_loss),
        names.TUNED_LOSS: text_of(params.tuned_loss),
        names.VERDICT: params.verdict,
        "sh.kaito.model.name": model.preset,
    }
    evaluation = read_evaluation(params.work_dir)
    live_loss = evaluation.loss_of("live") if evaluation is not None else None
    if live_loss is not None:
        annotations[names.LIVE_LOSS] = text_of(live_loss)
    if params.deploy_to == NOT_DEPLOYED:
        annotations[names.DEPLOY_TO] = NOT_DEPLOYED
    annotations |= _node(params)
    start = start_of(params.work_dir, plan.lora.start_from)
    if start.digest:
        annotations[names.STARTED_FROM] = start.digest
        annotations[names.WARM_STARTS] = str(start.warm_starts)
    if base.source in ("hub", "made") and model.license != UNKNOWN_LICENSE:
        # The licence of what the preset names; other weights may have another.
        annotations[f"{names.OCI}.licenses"] = model.license
    # By its definition base.name is an image, so it is omitted for other weights.
    if base.source.startswith("oci:"):
        annotations[f"{names.OCI}.base.name"] = base.source.removeprefix("oci:")
        annotations[f"{names.OCI}.base.digest"] = base.revision
    return annotations


def _node(params: Params) -> dict[str, str]:
    """The machine and its cost, where a node was made for the run."""
    use = node_use(params)
    if use is None:
        return {}
    said = {names.MACHINE: params.machine}
    return said if use.cost_usd is None else said | {names.COST_USD: f"{use.cost_usd:.2f}"}
