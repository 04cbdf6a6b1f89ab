"""Whether a scheduled run is to tune: what changed since the last deployment and rejection.

The same data, plan and weights make the same adapter. It is not tuned again if it was deployed,
also where a rollback took it out of service since, because someone did not want it. If the gate
rejected it, it is tuned again as soon as it would be judged otherwise: with other settings of the
gate or, where it lost to the adapter in service alone, beside another one.
"""

from __future__ import annotations

import logging

from argotune.steps.common import log
from argotune.steps.contracts.history import (
    Deployed,
    Rejected,
    digest_of_plan,
    last_deployed,
    last_rejected,
    live_digest,
)
from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.steps.contracts.model_source import version_of
from argotune.steps.contracts.training_plan import Model, read_plan
from argotune.steps.dataset.params import Params

_logger = logging.getLogger(__name__)


def is_changed(dataset_digest: str, params: Params) -> bool:
    """Whether to tune on the data; always, unless the run is asked to look what changed."""
    if not params.only_if_changed or params.history_file is None:
        return True
    last = last_deployed(params.history_file)
    if _is_as(last, dataset_digest, params) and _is_where_wanted(last, params):
        return False
    rejected = last_rejected(params.history_file)
    if rejected is None or not _is_as(rejected, dataset_digest, params):
        return True
    title = rejected.reference or "an adapter"
    change = _change_of_judgement(rejected, params)
    if change:
        log.event(_logger, "judged-anew", reason=f"{change} since {title} was rejected")
        return True
    log.warn(
        _logger,
        "unchanged-since-rejection",
        reason=f"{title} of the same data and plan was rejected",
        advice="to tune on them again, begin a run by hand, as argotune submit does",
    )
    return False


def _is_as(last: Deployed | None, dataset_digest: str, params: Params) -> bool:
    """Whether an adapter was made of the same data, plan and weights."""
    if last is None or last.dataset_digest != dataset_digest:
        return False
    if last.plan_digest != digest_of_plan(params.plan_file):
        return False
    return not _other_weights(read_plan(params.plan_file).model, last)


def _is_where_wanted(last: Deployed | None, params: Params) -> bool:
    """Whether no service is missing; one that was only pushed is enough for a run like that."""
    return last is not None and (last.was_deployed or params.deploy_to == NOT_DEPLOYED)


def _other_weights(model: Model, last: Deployed) -> bool:
    """Whether the source of the weights, which the plan names, has something else now."""
    if ":" not in model.source:
        # The plan, which is the same, names them by revision.
        return False
    version = version_of(model)
    if version is None:
        log.warn(
            _logger,
            "base-may-have-changed",
            source=model.source,
            effect="the run goes on with unchanged data",
            advice="name the image by its digest, oci:IMAGE@sha256:HEX",
        )
    return version != last.base_version


def _change_of_judgement(rejected: Rejected, params: Params) -> str:
    """What might let the adapter pass now; empty: nothing, or nothing that is known."""
    if rejected.gate and params.gate and rejected.gate != params.gate:
        return "the gate's settings have changed"
    live = live_digest(params.history_file) if params.history_file is not None else ""
    if rejected.live and live and rejected.live != live:
        return "another adapter went into service"
    return ""
