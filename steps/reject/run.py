"""Record the adapter that the gate or a person rejected, and fail the run if that is set."""

from __future__ import annotations

import logging
from collections.abc import Callable

from argotune.steps.cluster.kube import Kube, connect
from argotune.steps.cluster.this_run import read_this_run
from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError, StepError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.approval import Answer, answer_of
from argotune.steps.contracts.evaluation import REJECTED, read_evaluation
from argotune.steps.contracts.history import (
    Rejected,
    digest_of_plan,
    live_digest,
    record_rejected,
)
from argotune.steps.contracts.in_service import Event
from argotune.steps.contracts.live_adapter import read_live_adapter
from argotune.steps.contracts.model_cache import base_of
from argotune.steps.contracts.report import NOT_KEPT
from argotune.steps.contracts.versions import rejected_tag
from argotune.steps.registry.oci import parse_reference
from argotune.steps.registry.skopeo import Registry
from argotune.steps.registry.versions import repository_of
from argotune.steps.reject.params import Params, Result
from argotune.steps.reject.service import note_rejection

_LOGGER = logging.getLogger(__name__)


def run(params: Params, *, progress: Progress, connect: Callable[[], Kube] = connect) -> Result:
    """Write the record of the rejection; the adapter is in the registry by now.

    What a person rejected gets the tag that push gives to what the gate rejected. Raises
    PermanentError where the run is to fail for what the gate said.
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
    answer = None if by_gate else _answer(params, connect)
    tag = _tag(params)
    progress.update(1, 1)
    person = "" if answer is None else answer.by
    if answer is not None:
        event = Event(time=answer.time, person=person, run=params.workflow)
        note_rejection(params, _digest_of(params), event, connect=connect)
    log.event(
        _LOGGER, "rejected", adapter=params.reference, by_gate=by_gate, person=person, tag=tag
    )
    if by_gate and params.on_rejected == "fail":
        raise PermanentError(
            f"{params.outcome or 'rejected'}: {params.reason}; the adapter is {params.reference}, "
            "and on-rejected is fail"
        )
    return Result(rejected_by="gate" if by_gate else "person", person=person, tag=tag)


def _answer(params: Params, connect: Callable[[], Kube]) -> Answer | None:
    """Read who answered what; None where nothing tells it."""
    if not (params.workflow or params.run_record):
        return None
    run = read_this_run(
        params.namespace, params.workflow, record=params.run_record, connect=connect
    )
    return answer_of(run)


def _digest_of(params: Params) -> str:
    return parse_reference(params.reference).digest or ""


def _tag(params: Params) -> str:
    """Give the image the tag of rejected ones, which it has where the gate rejected it.

    A registry that refuses it, as one with locked tags, does not fail the run.
    """
    image, digest = parse_reference(params.reference), _digest_of(params)
    tag = rejected_tag(digest)
    registry = Registry(
        auth_file=params.auth_file,
        secret=params.push_secret,
        ca_file=params.ca_file,
        allowed_hosts=params.allowed_hosts,
    )
    try:
        if params.verdict != REJECTED:
            repository_of(image, registry).point(tag, digest)
    except StepError as error:
        log.warn(_LOGGER, "tag-not-set", tag=tag, reason=error)
        return f"{NOT_KEPT}{error}"
    return tag


def _lost_to(params: Params) -> str:
    """Digest of the adapter in service, where the new one lost to it and failed nothing else.

    It is what deploy recorded, with which the dataset step compares it; the registry's tag may be
    of another one, where the registry refused it or deploy was stopped.
    """
    evaluation, live = read_evaluation(params.work_dir), read_live_adapter(params.work_dir)
    if evaluation is None or live is None:
        return ""
    lost: set[str] = {each.against for each in evaluation.comparisons if not each.passed}
    for check in evaluation.checks:
        lost.update(check.failed)
    return live_digest(params.history_file) or live.digest if lost == {"live"} else ""
