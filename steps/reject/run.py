"""Record the adapter that the gate or a person rejected, and fail the run if that is set."""

from __future__ import annotations

import logging

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.evaluation import REJECTED, read_evaluation
from argotune.steps.contracts.history import Rejected, digest_of_plan, record_rejected
from argotune.steps.contracts.live_adapter import read_live_adapter
from argotune.steps.contracts.model_cache import base_of
from argotune.steps.reject.params import Params, Result

_LOGGER = logging.getLogger(__name__)


def run(params: Params, *, progress: Progress) -> Result:
    """Write the record of the rejection; the adapter is in the registry by now.

    Raises PermanentError where the run is to fail for what the gate said.
    """
    by_gate = params.verdict == REJECTED
    rejected = Rejected(
        dataset_digest=params.dataset_digest,
        plan_digest=digest_of_plan(params.plan_file),
        base_version=base_of(params.model_dir)[0].version,
        reference=params.reference,
        gate=params.gate if by_gate else "",
        live=_lost_to(params) if by_gate else "",
    )
    record_rejected(params.history_file, rejected)
    progress.update(1, 1)
    log.event(_LOGGER, "rejected", adapter=params.reference, by_gate=by_gate)
    if by_gate and params.on_rejected == "fail":
        raise PermanentError(
            f"{params.outcome or 'rejected'}: {params.reason}; the adapter is {params.reference}, "
            "and on-rejected is fail"
        )
    return Result(rejected_by="gate" if by_gate else "person")


def _lost_to(params: Params) -> str:
    """Digest of the adapter in service, where the new one lost to it and not to the base too."""
    evaluation, live = read_evaluation(params.work_dir), read_live_adapter(params.work_dir)
    if evaluation is None or live is None:
        return ""
    lost = [each.against for each in evaluation.comparisons if not each.passed]
    return live.digest if lost == ["live"] else ""
