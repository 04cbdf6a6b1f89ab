"""Annotations of the adapter's image about its origin."""

from __future__ import annotations

import hashlib

from argotune.steps.common.fields import text_of
from argotune.steps.contracts.serving import Base
from argotune.steps.contracts.training_plan import TrainingPlan, dump_plan
from argotune.steps.push.params import Params

_OCI = "org.opencontainers.image"
_OURS = "sh.argotune"


def annotations_of(params: Params, plan: TrainingPlan, base: Base, tag: str) -> dict[str, str]:
    """The manifest's annotations: those of the OCI specification, Kaito's and argotune's.

    `base` is the model that was tuned, which may be another than the plan's preset names.
    """
    model = plan.model
    annotations = {
        f"{_OCI}.created": params.created,
        f"{_OCI}.title": plan.name,
        f"{_OCI}.version": tag,
        f"{_OCI}.revision": base.revision,
        f"{_OURS}.base-model": base.repository,
        f"{_OURS}.base-revision": base.revision,
        f"{_OURS}.base-digest": base.digest,
        f"{_OURS}.dataset-digest": params.dataset_digest,
        f"{_OURS}.config-digest": f"sha256:{hashlib.sha256(dump_plan(plan).encode()).hexdigest()}",
        f"{_OURS}.base-loss": text_of(params.base_loss),
        f"{_OURS}.tuned-loss": text_of(params.tuned_loss),
        "sh.kaito.model.name": model.preset,
    }
    if base.source in ("hub", "made"):
        # The licence of what the preset names; other weights may have another.
        annotations[f"{_OCI}.licenses"] = model.license
    # By its definition base.name is an image, so it is omitted for other weights.
    if base.source.startswith("oci:"):
        annotations[f"{_OCI}.base.name"] = base.source.removeprefix("oci:")
        annotations[f"{_OCI}.base.digest"] = base.revision
    return annotations
