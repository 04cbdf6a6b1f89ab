"""Record the adapter that the gate or a person rejected, and fail the run if that is set."""

from __future__ import annotations

import logging

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.evaluation import REJECTED
from argotune.steps.contracts.history import (
    Deployed,
    digest_of_plan,
    record_deployed,
    rejected_beside,
)
from argotune.steps.contracts.model_cache import base_of
from argotune.steps.reject.params import Params, Result

_LOGGER = logging.getLogger(__name__)


def run(params: Params, *, progress: Progress) -> Result:
    """Write the record of the rejection; the adapter is in the registry by now.

    Raises PermanentError where the run is to fail for what the gate said.
    """
    rejected = Deployed(
        dataset_digest=params.dataset_digest,
        plan_digest=digest_of_plan(params.plan_file),
        base_version=base_of(params.model_dir)[0].version,
        reference=params.reference,
    )
    record_deployed(rejected_beside(params.history_file), rejected)
    progress.update(1, 1)
    by_gate = params.verdict == REJECTED
    log.event(_LOGGER, "rejected", adapter=params.reference, by_gate=by_gate)
    if by_gate and params.on_rejected == "fail":
        raise PermanentError(
            f"{params.outcome or 'rejected'}: {params.reason}; the adapter is {params.reference}, "
            "and on-rejected is fail"
        )
    return Result(rejected_by="gate" if by_gate else "person")
